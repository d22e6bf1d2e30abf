"""stopvm: stop the guests of this host cleanly when it goes down, and bring them back.

Only the standard library and libvirt: it must run when nothing else does. It imports nothing of
lvg outside this folder, since it is installed as a program of its own.
"""

__version__ = "0.1.0"
