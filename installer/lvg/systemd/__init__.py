"""Units: what systemd, or the files below a root, say of them, and the three things lvg asks systemd to do."""

from lvg.systemd.show import (
    Unit,
    also,
    daemon_reload,
    directives,
    install_links,
    parse_show,
    properties,
    running,
    span,
    start,
    system_state,
    units,
    vendor_unit,
)

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
