"""Every os-release file must lead to the family, the file and the dialect that its table names."""

from pathlib import Path

import pytest

from lvg.detect import detect
from lvg.distros import APPLIANCES, DECLARED, FAMILIES, FAMILY_OF
from lvg.files import Root

INIT_PROGRAMS = {"systemd": "usr/lib/systemd/systemd", "openrc": "sbin/openrc", "runit": "etc/runit/1"}


def tree(tmp_path: Path, os_release: bytes, init: str = "", where: str = "etc/os-release") -> Root:
    for name, data in ((where, os_release), (INIT_PROGRAMS.get(init, ""), b"")):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    return Root(tmp_path)


def test_os_release_leads_to_the_right_file(case, tmp_path):
    data = case.file.read_bytes()
    host = detect(tree(tmp_path / "in-etc", data, case.init))
    assert host.distro.family == case.family
    assert host.config_file == case.config_file
    if case.config_file:
        assert host.dialect == case.dialect
    refused = not case.config_file or host.distro.family in DECLARED or host.distro.id.casefold() in APPLIANCES
    assert host.supported is not refused
    assert bool(host.advice), "a host without libvirt-guests always gets an advice"
    vendors = detect(tree(tmp_path / "in-usr-lib", data, case.init, where="usr/lib/os-release"))
    assert (vendors.distro.family, vendors.config_file) == (case.family, case.config_file)


@pytest.mark.parametrize(("id_", "family"), sorted(FAMILY_OF.items()))
def test_every_row_of_the_table(id_, family, tmp_path):
    host = detect(tree(tmp_path, f"ID='{id_.upper()}'\n".encode()))
    row = FAMILIES[family]
    assert host.distro.family == family
    assert (host.config_file, host.init) == (row.config_file, row.init)
    if row.config_file:
        assert host.dialect == row.dialect


@pytest.mark.parametrize("id_", sorted(FAMILY_OF))
def test_every_row_is_found_by_id_like(id_, tmp_path):
    host = detect(tree(tmp_path, f'ID=derived\nID_LIKE="nobody-knows {id_} alpine"\n'.encode()))
    assert host.distro.family == FAMILY_OF[id_]
