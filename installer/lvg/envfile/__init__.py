"""The libvirt-guests file: what it says to sh and to systemd, and how a few keys of it are changed."""

from lvg.envfile.edit import Assignment, Edit, assignments, checked_edit, edit, notes, quote, sh_values
from lvg.envfile.read import without_effect

__all__ = ["Assignment", "Edit", "assignments", "checked_edit", "edit", "notes", "quote", "sh_values", "without_effect"]
