"""Units: what systemd, or the files below a root, say of them, and the three things lvg asks systemd to do."""

from lvg.systemd.show import (
    Unit,
    daemon_reload,
    parse_show,
    properties,
    running,
    span,
    start,
    system_state,
    units,
    vendor_unit,
)
from lvg.systemd.unitsyntax import also, directives, install_links

__all__ = [
    "Unit",
    "also",
    "daemon_reload",
    "directives",
    "install_links",
    "parse_show",
    "properties",
    "running",
    "span",
    "start",
    "system_state",
    "units",
    "vendor_unit",
]
