"""Detection: what this host is, and which file its libvirt-guests really reads.

Evidence first, table second: (1) --config-file, (2) what the installed script or unit names, (3) the
distro's row, (4) the one file that exists. What disagrees is reported. Nothing is ever created.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lvg import advice, distros, systemd
from lvg.detect import evidence, inits, service
from lvg.detect.appliances import appliance
from lvg.detect.evidence import Evidence
from lvg.detect.service import GUESTS_UNIT, Installed, Service
from lvg.distros import FAMILIES, Distro
from lvg.errors import NotInstalledError, UnsupportedDistroError, UsageError
from lvg.files import Root
from lvg.systemd import Unit

__all__ = ["Evidence", "Host", "Service", "detect", "require_installed", "require_supported"]


@dataclass(frozen=True)
class Host:
    """What was found. `advice` says what to do if the host is not supported or lacks libvirt-guests.

    `config_file` is a path inside the root ("" if nothing tells). `product` is the name of what owns the
    guests here, if its os-release hides it. `units` holds libvirt-guests.service, and what `detect` was
    told to watch, if the init is systemd.
    """

    root: Root
    distro: Distro
    supported: bool
    advice: str
    init: str
    config_file: str
    config_exists: bool
    dialect: str
    service: Service
    evidence: tuple[Evidence, ...] = ()
    disagreements: tuple[str, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)
    product: str = ""


def detect(root: Root, *, distro: str = "", config_file: str = "", watch: Iterable[str] = ()) -> Host:
    """Return what the host below `root` is. Answers for unsupported hosts too, with advice.

    `distro` is an os-release ID to believe instead of the host's, `config_file` a path inside the root.
    `watch` names more systemd units to ask about in the same breath. Raises UsageError for an unknown
    ID or a relative path, LvgError for what cannot be read.
    """
    if config_file and not config_file.startswith("/"):
        raise UsageError(f"--config-file {config_file} is not an absolute path", "Give a path inside the root.")
    row = distros.named(distro) if distro else distros.read_os_release(root)
    product, refusal = appliance(root)
    init = inits.init_of(root, FAMILIES[row.family].init)
    units = systemd.units(root, (GUESTS_UNIT, *watch)) if init == "systemd" else {}
    found = service.find(root, init, units.get(GUESTS_UNIT, Unit(GUESTS_UNIT)))
    facts = evidence.collect(root, row, found, config_file)
    path = facts[0].path if facts else ""
    host = Host(
        root=root,
        distro=row,
        supported=False,
        advice=refusal,
        init=init,
        config_file=path,
        config_exists=bool(path) and root.exists(path),
        dialect=_dialect(row, found),
        service=service.describe(root, found),
        evidence=facts,
        disagreements=evidence.disagreements(facts),
        units=units,
        product=product,
    )
    return _judged(host)


def _dialect(row: Distro, found: Installed) -> str:
    """Return the dialect that the script speaks, else the family's, else that of the init."""
    if found.dialect:
        return found.dialect
    path, dialect = FAMILIES[row.family].file_for(found.init)
    return dialect if path else "openrc" if found.init == "openrc" else "upstream"


def _judged(host: Host) -> Host:
    """Return the host with the verdict: supported or not, and what to do."""
    refused = host.distro.family in distros.DECLARED or host.distro.id.casefold() in distros.APPLIANCES
    refusal = host.advice or (host.distro.advice if refused else "")
    if not refusal and not host.service.installed:
        refusal = _no_service_there(host)
    if not refusal and not host.config_file:
        refusal = advice.UNKNOWN
    missing = "" if host.service.installed else distros.install_command(host.distro)
    return replace(host, supported=not refusal, advice=refusal or missing)


def _no_service_there(host: Host) -> str:
    """Return what to do on a distro that is known to package no libvirt-guests for this init."""
    if host.distro.family == "artix" and host.init != "openrc":
        return advice.ARTIX_WITHOUT_OPENRC
    return "" if host.distro.advice == advice.UNKNOWN else host.distro.advice


def require_supported(host: Host) -> None:
    """Raise UnsupportedDistroError (exit 7) with what to do, unless lvg can help this host."""
    if host.supported:
        return
    distro = host.distro
    if host.advice != advice.UNKNOWN:
        name = host.product or distro.name or distro.id
        raise UnsupportedDistroError(f"{name} (ID={distro.id}) is not a host that lvg can set up", host.advice)
    like = f" (ID_LIKE {' '.join(distro.id_like)})" if distro.id_like else ""
    what = f'unknown distro "{distro.id}"{like}' if distro.id else "no usable os-release file"
    raise UnsupportedDistroError(f"{what}, and nothing tells which file libvirt-guests reads here", host.advice)


def require_installed(host: Host) -> None:
    """Raise NotInstalledError (exit 8) with the package to install, unless libvirt-guests is here."""
    if not host.service.installed:
        where = "" if host.root.live else f" below {host.root.path}"
        raise NotInstalledError(f"libvirt-guests is not installed{where}", distros.install_command(host.distro))
