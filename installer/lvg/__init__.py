"""lvg: make a libvirt/KVM host stop its guests properly when it goes down."""

__version__ = "0.1.0"
