"""What libvirt and agents say becomes Guests, however wrong, huge or hostile it is."""

from __future__ import annotations

import json

import pytest

from lvg import guests
from lvg.guests import definition, parse

wire = pytest.importorskip("lvg.stopvm.wire", reason="needs libvirt")  # its tables have to agree
libvirt = wire.libvirt
URI = "default"
UUID = "7d9b1c2e-0000-4000-8000-000000000001"
FULL = """\
<domain type='{kind}' id='4'>
  <name>vm</name>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <os><type arch='{arch}' machine='pc'>hvm</type></os>
  <features>{features}</features>
  {more}
  <on_poweroff>{on_poweroff}</on_poweroff>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
  </devices>
</domain>
"""
CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='{}'/></channel>"
DISKS = """
<disk type='file' device='disk'><source file='/srv/a.qcow2' index='1'/><target dev='vda' bus='virtio'/></disk>
<disk type='block' device='lun'><source dev='/dev/sdb'/><mirror job='copy'/><target dev='sda' bus='scsi'/></disk>
<disk type='network' device='disk'><source protocol='rbd' name='pool/b'/><target dev='vdb' bus='virtio'/></disk>
<disk type='volume' device='disk'><source pool='default' volume='c'/><target dev='vdc' bus='virtio'/></disk>
<disk type='file' device='cdrom'><source file='/srv/d.iso'/><target dev='hda' bus='ide'/></disk>
<disk type='file' device='disk'><target dev='vdd' bus='virtio'/></disk>
"""


def xml(devices="", more="", kind="kvm", arch="x86_64", features="<acpi/>", on_poweroff="destroy"):
    return FULL.format(
        devices=devices, more=more, kind=kind, arch=arch, features=features, on_poweroff=on_poweroff
    )  # fmt: skip


def heard(*words, listed=True, **changes):
    """The lines of a probe that met one guest."""
    guest = {
        "guest": UUID, "name": "vm", "state": [1, 0], "persistent": True, "autostart": False, "managed_save": False,
        "xml": xml(CHANNEL.format("connected")), "pid": 7, "emulator_is_gone": False,
    }  # fmt: skip
    about = [
        {"real": "qemu:///system", "version": 9_000_000},
        {"active": ["vm"], "off": ["off", "asleep"], "saved": ["asleep"]},
        {**guest, **changes},
        *words,
        *([{"listed": True, "seconds": 0.25}] if listed else []),
    ]
    return [json.dumps({"uri": URI, **each}).encode() for each in about]


def answer(*words, cut="", root=True, **changes):
    (found,) = parse.answers([URI], heard(*words, **changes), cut, 2.0, root)
    return found


def guest(*words, **changes):
    (found,) = answer(*words, **changes).guests
    return found


def test_a_whole_answer():
    found = answer({"agent": UUID, "state": "ok"})
    assert (found.real, found.error, found.version, found.seconds) == ("qemu:///system", "", 9_000_000, 0.25)
    assert (found.defined, found.saved) == (("asleep", "off", "vm"), ("asleep",))
    (vm,) = found.guests
    assert (vm.name, vm.uri, vm.state, vm.memory, vm.pid, vm.agent) == ("vm", URI, "running", 1024.0, 7, "ok")
    assert (vm.acpi, vm.hostdev, vm.on_poweroff, vm.cannot_save) == (True, False, "destroy", ())
    assert vm.emulator == "/usr/bin/qemu-system-x86_64"


def test_a_state_is_what_stopvm_takes_it_for():
    states = {
        number for name, number in vars(libvirt).items() if name in _names("VIR_DOMAIN_", "RUNNING PAUSED CRASHED")
    }
    for state in states | {libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_PMSUSPENDED, libvirt.VIR_DOMAIN_BLOCKED, 99}:
        for why in range(14):
            assert guest(state=[state, why]).state == wire.state_in_words(state, why, job=False), (state, why)
            with_job = guest({"job": UUID, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP}, state=[state, why])
            assert with_job.state == wire.state_in_words(state, why), (state, why)


def _names(prefix, words):
    return {prefix + word for word in words.split()}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("USER", "user"),
        ("IOERROR", "io-error"),
        ("WATCHDOG", "watchdog"),
        ("STARTING_UP", "starting up"),
        ("UNKNOWN", ""),
    ],
)
def test_why_it_is_paused(reason, word):
    paused = guest(state=[libvirt.VIR_DOMAIN_PAUSED, getattr(libvirt, f"VIR_DOMAIN_PAUSED_{reason}")])
    assert (paused.state, paused.why) == ("paused", word)


@pytest.mark.parametrize("name", sorted(name for name in dir(libvirt) if name.startswith("VIR_DOMAIN_JOB_OPERATION_")))
def test_a_job_has_the_word_that_stopvm_has_for_it(name):
    domainjobs = pytest.importorskip("lvg.stopvm.domainjobs")
    number = getattr(libvirt, name)

    class Domain:
        def jobStats(self):  # noqa: N802
            return {"type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "operation": number}

    assert guest({"job": UUID, "operation": number}).job == domainjobs.operation(Domain())


def test_without_a_job_nothing_holds_it():
    assert guest().job == ""


@pytest.mark.parametrize(
    ("devices", "said", "state"),
    [
        ("", "ok", "none"),
        (CHANNEL.format("disconnected"), "ok", "off"),
        (CHANNEL.format("connected"), "silent", "silent"),
        (CHANNEL.format("connected"), "", "unasked"),
        (CHANNEL.format("connected").replace("qemu", "else"), "ok", "none"),
        (CHANNEL.format("connected") + CHANNEL.format("disconnected"), "ok", "ok"),
    ],
)
def test_the_agent(devices, said, state):
    words = [{"agent": UUID, "state": said}] if said else []
    vm = guest(*words, xml=xml(devices))
    assert vm.agent == state
    assert vm.facts.agent is wire.agent_is_up(xml(devices))


INFO = {
    "return": {
        "version": "7.2",
        "supported_commands": [
            {"name": "guest-shutdown", "enabled": True, "success-response": False},
            {"name": "guest-exec", "enabled": False},
            {"name": "guest-file-open", "enabled": False},
            {"name": "guest-ping"},
            {"name": 7, "enabled": False},
            "guest-x",
        ],
    }
}


def test_what_an_agent_refuses_or_does_not_know():
    vm = guest({"agent": UUID, "info": json.dumps(INFO)}, {"agent": UUID, "state": "ok"})
    assert vm.agent_refuses == {"guest-exec", "guest-file-open", "guest-exec-status"}


def test_the_system_in_it():
    assert guest({"agent": UUID, "os": "Debian GNU/Linux 12"}).os == "Debian GNU/Linux 12"
    assert guest({"agent": UUID, "os": "x" * 5000}).os == "x" * 80


@pytest.mark.parametrize(
    "reply",
    ["", "nonsense", "[]", "7", '{"return": 7}', '{"return": {"supported_commands": {"a": 1}}}', "[" * 100_000,
     "9" * 9000, '{"return": {"supported_commands": []}}'],
)  # fmt: skip
def test_a_hostile_agent_is_one_that_says_nothing(reply):
    assert guest({"agent": UUID, "info": reply}).agent_refuses == frozenset()


def test_disks_and_their_copies():
    vm = guest(xml=xml(DISKS))
    assert vm.disks == ("/srv/a.qcow2", "/dev/sdb", "rbd:pool/b", "volume:default/c")
    assert vm.block_jobs == ("sda",)


@pytest.mark.parametrize(
    ("text", "acpi"),
    [
        (xml(), True), (xml(features=""), False), (xml(features="", arch="s390x"), True),
        (xml(features="", kind="lxc"), True), (xml(features="<apic/>", kind="qemu", arch="i686"), False),
    ],
)  # fmt: skip
def test_acpi_is_missing_only_where_it_is_the_button(text, acpi):
    assert guest(xml=text).acpi is acpi


HOSTDEV = "<hostdev mode='subsystem' type='{}'/>"
FOLDER = "<filesystem type='mount'>{}<source dir='/srv'/><target dir='x'/></filesystem>"
INVTSC = "<cpu><feature policy='{}' name='invtsc'/></cpu>"


@pytest.mark.parametrize(
    ("text", "version", "why"),
    [
        (xml(HOSTDEV.format("pci")), 0, definition.HOST_DEVICE),
        (xml(HOSTDEV.format("mdev")), 0, definition.HOST_DEVICE),
        (xml("<interface type='hostdev'/>"), 0, definition.HOST_NETWORK),
        (xml("<interface type='vdpa'/>"), 0, "vDPA"),
        (xml(FOLDER.format("")), 0, "9p"),
        (xml(FOLDER.format("<driver type='path' wrpolicy='immediate'/>")), 0, "9p"),
        (xml(FOLDER.format("<driver type='virtiofs'/>")), 9_000_000, "virtiofs"),
        (xml(FOLDER.format("<driver type='virtiofs'/>")), 11_003_000, ""),
        (xml(FOLDER.format(""), kind="lxc"), 0, ""),
        (xml("<tpm model='tpm-crb'><backend type='external'/></tpm>"), 0, "TPM"),
        (xml("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"), 0, ""),
        (xml(more=INVTSC.format("require")), 0, "invtsc"),
        (xml(more=INVTSC.format("disable")), 0, ""),
        (xml(more=INVTSC.format("require") + "<clock><timer name='tsc' frequency='3000000000'/></clock>"), 0, ""),
        (xml("<interface type='network'/>" + DISKS), 0, ""),
    ],
)
def test_what_stands_against_a_save(text, version, why):
    found = definition.read(text, version)
    assert len(found.cannot_save) == bool(why)
    assert all(why in reason for reason in found.cannot_save)
    assert found.hostdev is ("<hostdev " in text), "as stopvm sees it"


def test_a_transient_guest_cannot_be_saved():
    assert guest(persistent=False).cannot_save == ("it is transient",)


BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>{}]><domain><name>&j;</name></domain>".format(
    "".join(f"<!ENTITY {name} '{f'&{chr(ord(name) - 1)};' * 10}'>" for name in "bcdefghij")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "document type"),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><domain/>", "document type"),
        ("<domain>&a;</domain>", "undefined entity"),
        ("<domain", "unclosed token"),
        ("", "longer than any"),
        ("<domain>\x00</domain>", "not well-formed"),
        ("<domain>\ud800</domain>", "surrogates"),
    ],
)
def test_a_definition_that_cannot_be_used_costs_nobody_else(text, says):
    found = answer(xml=text, state=[3, 1])
    assert "vm: its definition cannot be used: " in found.error
    assert says in found.error
    assert [(each.name, each.state) for each in found.guests] == [("vm", "paused")]


def test_a_deep_definition_is_read():
    assert definition.read("<domain>" + "<a>" * 50_000 + "</a>" * 50_000 + "</domain>").wrong == ""


def test_what_was_heard_before_it_fell_silent_is_kept():
    lines = heard(listed=False)
    lines.insert(2, json.dumps({"uri": URI, "active": ["a", "b", "c", "d", "e", "f", "vm"], "off": []}).encode())
    lines.append(lines[-1][:40])  # it was killed while it wrote this
    (found,) = parse.answers([URI], lines, "libvirt did not answer within 2 s", 2.0, True)
    assert found.error.startswith("libvirt did not answer within 2 s; nothing is known of ")
    assert [each.name for each in found.guests] == ["vm"]


def test_many_who_are_not_known_are_not_all_named():
    names = [f"vm{number}" for number in range(100)]
    lines = [json.dumps({"uri": URI, "active": names, "off": []}).encode()]
    (found,) = parse.answers([URI], lines, "late", 2.0, True)
    assert found.error == "late; nothing is known of vm0, vm1, vm2, vm3, vm4, ..."
    assert len(found.defined) == 100


def test_an_error_is_libvirts_own():
    lines = [json.dumps({"uri": URI, "error": "Failed to connect socket"}).encode()]
    (found,) = parse.answers([URI], lines, "", 2.0, True)
    assert (found.error, found.guests) == ("Failed to connect socket", ())


def test_who_is_not_root_is_told():
    lines = [json.dumps({"uri": URI, "error": "Permission denied"}).encode()]
    (found,) = parse.answers([URI], lines, "", 2.0, False)
    assert "run it as root" in found.error
    own = [{"real": "qemu:///session", "version": 9_000_000}]
    assert "your own guests" in answer(*own, root=False).error
    assert answer(*own, root=True).error == ""


def test_without_the_module_the_package_is_named():
    found = parse.answers(["a", "b"], [b'{"missing": "No module named \'libvirt\'"}'], "", 2.0, True)
    assert all("python3-libvirt" in each.error for each in found)


def test_a_daemon_with_two_names_is_asked_once():
    lines = heard() + [json.dumps({**json.loads(line), "uri": "qemu:///system"}).encode() for line in heard()]
    first, second = parse.answers([URI, "qemu:///system"], lines, "", 2.0, True)
    assert (len(first.guests), second.guests, second.defined, second.error) == (1, (), (), "")
    broken = [line for line in lines if b'"listed"' not in line or b"system" in line]
    first, second = parse.answers([URI, "qemu:///system"], broken, "it broke off", 2.0, True)
    assert (first.guests, first.error, len(second.guests)) == ((), "it broke off", 1), "the whole answer counts"
    assert guests.running([first, second]) == second.guests
