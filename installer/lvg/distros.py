"""Distributions as rows of data: whose family a host is, and what libvirt-guests looks like there.

The table is the second source only: `detect.py` believes the installed service first. Sources of the
rows: the distributions' libvirt packages; the os-release files that the tests loop over.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from lvg import advice
from lvg.errors import UsageError, did_you_mean
from lvg.files import Root

_CONF_D = "/etc/conf.d/libvirt-guests"
_DEFAULT = "/etc/default/libvirt-guests"
_SYSCONFIG = "/etc/sysconfig/libvirt-guests"
_COMMON = "libvirt-daemon-common"


class Family(NamedTuple):
    """Distros that package libvirt-guests alike.

    `config_file` is "" where nothing reads one, and `on_systemd` the file there if it differs from
    the one under the family's usual `init`. `advice` says what to do where lvg is of no use.
    """

    name: str
    config_file: str = ""
    dialect: str = "upstream"
    package: str = ""
    advice: str = ""
    init: str = "systemd"
    install: str = ""
    on_systemd: str = ""

    def file_for(self, init: str) -> tuple[str, str]:
        """Return the config file and its dialect under this init ("" if it has none)."""
        if init == "systemd" and self.config_file:
            return self.on_systemd or self.config_file, "upstream"
        return self.config_file, self.dialect


@dataclass(frozen=True)
class Distro:
    """What os-release says, and what the table makes of it. `version` may be "" (rolling)."""

    id: str
    id_like: tuple[str, ...] = ()
    version: str = ""
    name: str = ""
    family: str = "unknown"
    supported: bool = False
    advice: str = ""


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("arch", _CONF_D, package="libvirt", install="pacman -S libvirt gettext"),
        Family("artix", _CONF_D, "openrc", "libvirt-openrc", init="openrc", install="pacman -S libvirt-openrc"),
        Family("debian", _DEFAULT, package="libvirt-daemon-system", install="apt install libvirt-daemon-system"),
        Family("fedora", _SYSCONFIG, package=_COMMON, install=f"dnf install {_COMMON} libvirt-client"),
        Family("rhel", _SYSCONFIG, package=_COMMON, install=f"dnf install {_COMMON} libvirt-client"),
        Family("suse", _SYSCONFIG, package=_COMMON, install=f"zypper install {_COMMON} libvirt-client"),
        Family("mageia", _SYSCONFIG, package="libvirt-utils", install="urpmi libvirt-utils"),
        Family(
            "gentoo",
            _CONF_D,
            "openrc",
            "app-emulation/libvirt",
            init="openrc",
            install="USE=libvirtd emerge app-emulation/libvirt",
            on_systemd="/etc/libvirt/libvirt-guests.conf",
        ),
        Family("alpine", _CONF_D, "openrc", "libvirt-daemon", init="openrc", install="apk add libvirt-daemon"),
        Family("nixos", advice=advice.NIXOS),
        Family("guix", advice=advice.GUIX, init="other"),
        Family("void", advice=advice.VOID, init="runit"),
        Family("slackware", advice=advice.SLACKWARE, init="sysv"),
        Family("unknown", advice=advice.UNKNOWN, init="other"),
    )
}

_IDS_BY_FAMILY = {
    "arch": "arch archlinux archarm archcraft arcolinux antergos cachyos chimeraos endeavouros garuda manjaro "
    "manjaro-arm steamos blackarch",
    "artix": "artix",
    "debian": "debian ubuntu raspbian devuan kali linuxmint pop neon parrot pureos tails trisquel zorin elementary "
    "deepin mx lmde truenas",
    "fedora": "fedora nobara korora bluefin aurora bazzite",
    "rhel": "rhel centos almalinux rocky ol oraclelinux amzn eurolinux clearos cloudlinux miraclelinux scientific "
    "virtuozzo openela xenenterprise xcp-ng",
    "suse": "suse opensuse opensuse-leap opensuse-tumbleweed opensuse-microos opensuse-leap-micro opensuse-slowroll "
    "sles sled sles_sap sle-micro sl-micro",
    "mageia": "mageia",
    "gentoo": "gentoo funtoo calculate",
    "alpine": "alpine postmarketos",
    "nixos": "nixos",
    "guix": "guix",
    "void": "void",
    "slackware": "slackware unraid",
    # Known not to be what their ID_LIKE says, or to have no libvirt-guests service.
    "unknown": "hyperbola chimera",
}
FAMILY_OF: Mapping[str, str] = {one: family for family, ids in _IDS_BY_FAMILY.items() for one in ids.split()}

# Distros that are refused, or advised, otherwise than the rest of their family.
_ADVICE_OF: Mapping[str, str] = {
    "chimera": advice.CHIMERA,
    "truenas": advice.TRUENAS,
    "xcp-ng": advice.XEN,
    "xenenterprise": advice.XEN,
}
# Refused even with libvirt-guests installed: its file is made from elsewhere, or the guests are not libvirt's.
DECLARED = frozenset({"nixos", "guix"})
APPLIANCES = frozenset({"truenas", "xcp-ng", "xenenterprise"})

# Where a package owned libvirt-guests before the one in the table: (below this version, package).
_OLDER_PACKAGES: Mapping[str, tuple[tuple[tuple[int, ...], str], ...]] = {
    "fedora": (((35,), "libvirt-client"), ((39,), "libvirt-daemon")),
    "rhel": (((8,), "libvirt-client"), ((9, 3), "libvirt-daemon")),
    "suse": (((15, 6), "libvirt-client"),),
}


def lookup(id_: str, id_like: Iterable[str] = ()) -> str:
    """Return the family of an os-release ID, else of the first known ID_LIKE, else "unknown"."""
    known = (FAMILY_OF.get(word.casefold()) for word in (id_, *id_like))
    return next((family for family in known if family), "unknown")


def named(id_: str) -> Distro:
    """Return the row for --distro ID. Raises UsageError if there is none."""
    if id_.casefold() not in FAMILY_OF:
        near = did_you_mean(id_, FAMILY_OF)
        raise UsageError(f'unknown distro "{id_}".{near}', "Give an ID as in os-release: debian, arch, ...")
    return _described(Distro(id_.casefold(), name=id_))


def read_os_release(root: Root) -> Distro:
    """Return what /etc/os-release, or else /usr/lib/os-release, says (os-release(5)).

    A host with neither, or with one that cannot be parsed, is of the family "unknown".
    """
    for inside in ("/etc/os-release", "/usr/lib/os-release"):
        if root.exists(inside):
            return _described(_parsed(root, inside))
    return _described(Distro(""))


def _parsed(root: Root, inside: str) -> Distro:
    from distro import LinuxDistribution  # noqa: PLC0415  (only who reads a host pays for it)

    root.read(inside)  # says in our own words why it cannot be read
    source = LinuxDistribution(include_lsb=False, include_uname=False, os_release_file=str(root.real(inside)))
    try:
        says = source.os_release_info()
    except ValueError:  # an open quote, or bytes that are not UTF-8
        return Distro("")
    id_, like, version, name = (_shown(says.get(key, "")) for key in ("id", "id_like", "version_id", "name"))
    return Distro(id_, tuple(like.casefold().split()), version, name)


def _shown(text: str) -> str:
    """Return a text that is safe to print on one line, whatever a strange host put there."""
    return "".join(char if char.isprintable() else "?" for char in text.strip())


def _described(found: Distro) -> Distro:
    family = FAMILIES[lookup(found.id, found.id_like)]
    todo = _ADVICE_OF.get(found.id.casefold(), family.advice)
    return replace(found, family=family.name, advice=todo, supported=not todo)


def package(distro: Distro) -> str:
    """Return the package that holds libvirt-guests on this distro and version ("" if unknown)."""
    version = _numbers(distro.version)
    older = _OLDER_PACKAGES.get(distro.family, ()) if version else ()
    return next((name for below, name in older if version < below), FAMILIES[distro.family].package)


def install_command(distro: Distro) -> str:
    """Return the command that installs libvirt-guests there, or a sentence if none is known."""
    family = FAMILIES[distro.family]
    if not family.install:
        return "Install the package that holds libvirt-guests."
    words = family.install.replace(family.package, package(distro), 1).split()
    return f"Install it: {' '.join(dict.fromkeys(words))}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
