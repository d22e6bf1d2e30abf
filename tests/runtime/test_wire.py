"""What libvirt and the guest agent say, in our words."""

import base64
import json

import pytest

from lvg.stopvm import agent
from lvg.stopvm.decide import Facts

wire = pytest.importorskip("lvg.stopvm.wire", reason="needs libvirt")
connecting = pytest.importorskip("lvg.stopvm.connecting", reason="needs libvirt")
CHANNEL = "<channel type='unix'><target type='virtio' name='{}' state='{}'/></channel>"


@pytest.mark.parametrize(
    ("xml", "up"),
    [
        (CHANNEL.format("org.qemu.guest_agent.0", "connected"), True),
        (CHANNEL.format("org.qemu.guest_agent.0", "disconnected"), False),
        (CHANNEL.format("com.redhat.spice.0", "connected"), False),
        ("", False),
    ],
)
def test_only_an_agent_that_listens_is_asked(xml, up):
    assert wire.agent_is_up(xml) is up


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        (1, 1, "running"), (2, 1, "running"), (3, 1, "paused"), (3, 5, "paused"), (5, 1, "off"), (6, 0, "crashed"),
        (7, 0, "pmsuspended"), (4, 1, "shutdown"), (99, 0, "running"),
        (3, 2, "running"), (3, 3, "running"), (3, 4, "running"), (3, 9, "running"), (3, 8, "shutdown"),
        (3, 10, "crashed"),
    ],
)  # fmt: skip
def test_a_guest_that_a_job_paused_is_no_paused_guest(state, why, words):
    assert wire.state_in_words(state, why) == words


class Paused:
    """A guest that was brought back paused from a saved image, or that a job has paused."""

    def __init__(self, job, then=(3, 2)):
        self.job, self._states = job, [(3, 2), then]

    def state(self):
        return self._states.pop(0)

    def jobStats(self):  # noqa: N802
        if self.job is None:
            raise wire.libvirt.libvirtError("migration statistics are available only on the source host")
        return self.job


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (Paused({"type": 0}), "paused"),
        (Paused({"type": 0}, then=(1, 1)), "running"),
        (Paused({"type": 2, "operation": wire.libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT}), "running"),
        (Paused(None), "running"),
    ],
)
def test_a_guest_that_was_brought_back_paused_is_a_paused_guest(domain, words):
    for name, answer in (("UUIDString", "u"), ("name", "n"), ("isPersistent", 1)):
        setattr(domain, name, lambda answer=answer: answer)
    domain.XMLDesc = lambda flags: ""
    assert wire.facts(domain, "u").state == words


@pytest.mark.parametrize(
    ("event", "detail", "what"),
    [
        (5, 0, "stopped:clean"), (5, 1, "stopped:destroyed"), (5, 2, "stopped:lost"), (5, 3, "stopped:moved"),
        (5, 4, "stopped:saved"), (5, 5, "stopped:lost"), (5, 99, "stopped:clean"), (2, 0, "started"), (3, 0, ""),
        (4, 0, "resumed"), (6, 0, ""), (6, 1, "finished"), (6, 2, "killed"), (6, 99, ""), (8, 0, "crashed"), (8, 1, ""),
    ],
)  # fmt: skip
def test_events(event, detail, what):
    assert wire.meaning(event, detail) == what


DOMAIN = "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def connection(tmp_path):
    """A test driver of its own: all of this process that open test:///default may share one."""
    file = tmp_path / "node.xml"
    file.write_text(f"<node>{DOMAIN.format('test')}</node>")
    return connecting.connect(f"test://{file}")


@pytest.mark.parametrize(("end", "how"), [("shutdown", "clean"), ("destroy", "destroyed"), ("managedSave", "saved")])
def test_how_a_guest_ended(connection, end, how):
    guest = connection.lookupByName("test")
    facts = Facts(guest.UUIDString(), "test")
    assert wire.how_ended(connection, facts) == "", "it is up"
    getattr(guest, end)()
    assert wire.how_ended(connection, facts) == how
    guest.undefineFlags(1)
    assert wire.how_ended(connection, facts) == ""


HOSTILE = """\
<domain type='test'><name>liar</name><title>&lt;on_poweroff&gt;restart&lt;/on_poweroff&gt;</title><metadata>
<app xmlns='urn:a'><metadata><on_poweroff>restart</on_poweroff></metadata><currentMemory unit='KiB'>1</currentMemory>
<hostdev mode='x'/><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></app>
</metadata><memory unit='KiB'>2048</memory><os><type>hvm</type></os><on_poweroff>destroy</on_poweroff></domain>"""


def test_what_others_keep_with_a_guest_is_no_part_of_its_definition(connection):
    """Anybody who may set metadata could else keep it from being saved, or have it asked in another way."""
    domain = connection.createXML(HOSTILE)
    assert "urn:a" in domain.XMLDesc(0)
    found = wire.facts(domain, "u")
    assert (found.on_poweroff, found.memory, found.agent, found.hostdev) == ("destroy", 2.0, False, False)


class NoKinds:
    """A connection to a driver that lists no guests by kind."""

    def __init__(self, connection):
        self._connection = connection

    def listAllDomains(self, flags):  # noqa: N802
        if flags != 1:
            raise wire.libvirt.libvirtError("unsupported flags")
        return self._connection.listAllDomains(flags)


@pytest.mark.parametrize("lists", [lambda connection: connection, NoKinds])
def test_who_runs(connection, lists):
    connection.createXML(DOMAIN.format("transient"))
    connection.defineXML(DOMAIN.format("off"))
    paused = connection.defineXML(DOMAIN.format("paused"))
    paused.create()
    paused.suspend()
    found = wire.running(lists(connection), "u")
    states = {guest.name: (guest.state, guest.persistent) for guest, _ in found}
    assert states == {"test": ("running", True), "transient": ("running", False), "paused": ("paused", True)}
    assert all(guest.uuid == domain.UUIDString() for guest, domain in found)


def test_a_command_goes_without_a_shell():
    request = json.loads(agent.execute(("sh", "-c", 'a "b"')))
    assert request["arguments"] == {"path": "sh", "arg": ["-c", 'a "b"'], "capture-output": True}


@pytest.mark.parametrize(
    ("found", "done"),
    [
        ({"exited": False}, None),
        ({"exited": True, "exitcode": 0, "out-data": base64.b64encode(b"hi").decode()}, (0, "hi")),
        ({"exited": True, "exitcode": 3, "err-data": base64.b64encode(b"no\xff").decode()}, (3, "no\ufffd")),
        ({"exited": True, "signal": 9}, (9, "")),
    ],
)
def test_the_end_of_a_command(found, done):
    assert agent.finished(json.dumps({"return": found})) == done


@pytest.mark.parametrize("reply", ["", "[]", "{}", '{"return": 1}', '{"return": {"pid": "x"}}'])
def test_a_hostile_agent_is_an_error_and_no_more(reply):
    with pytest.raises(ValueError, match=r"agent|Expecting"):
        agent.started(reply)
