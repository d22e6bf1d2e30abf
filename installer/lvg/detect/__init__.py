"""Detection: what a host is, which file its libvirt-guests reads, and the evidence for it."""

from lvg.detect.detection import Evidence, Host, Service, detect, require_installed, require_supported

__all__ = ["Evidence", "Host", "Service", "detect", "require_installed", "require_supported"]
