"""Whatever a file, a monitor, an agent or libvirt says: no crash, no hang, no wrong value.

LVG_FUZZ_CASES=10000 tries so many of each kind.
"""

import asyncio
import base64
import json
import math
import os
import re
import shlex
import string
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvg import distros, neighbours, profiles, shutdowns
from lvg.errors import LvgError
from lvg.files import Root
from lvg.guests import definition, parse
from lvg.profiles.layers import value_of
from lvg.stopvm import agent, history, lastboot, order, policy, powercut, qemuprocess, show, timing
from lvg.stopvm.checks import GUEST, HOST, NET
from lvg.stopvm.session import LibvirtError

CASES = int(os.environ.get("LVG_FUZZ_CASES", "20"))
QUICK = settings(  # a long run has other cases each time
    max_examples=CASES,
    deadline=None,
    derandomize="LVG_FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
CHARACTERS = st.characters() | st.sampled_from("\x00\x1b\x9b\n\r\u202e\u2028\ud800$`'\"\\[]{}*?")
TEXT = st.text(CHARACTERS, max_size=12)
NUMBER = st.integers(-1, 10**8) | st.floats() | st.sampled_from([10**400, -(10**400), 1e308, 2**63, True, False])
JSON = st.recursive(
    st.none() | TEXT | NUMBER,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def _count(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    if hasattr(request.function, "hypothesis"):
        record_property("cases", CASES)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as found:
        yield Path(found)


def bent(text: str) -> st.SearchStrategy[str]:
    """A text with some of it cut out, doubled, or in the place of something else."""
    spot = st.tuples(
        st.integers(0, len(text)), st.integers(0, 12), TEXT | st.sampled_from([text[:40], '"', "}", "<a>", "="])
    )

    def make(spots: list[tuple[int, int, str]]) -> str:
        made = text
        for at, length, new in spots:
            made = made[:at] + new + made[at + length :]
        return made

    return st.lists(spot, min_size=1, max_size=4).map(make)


# -- the policy, which decides over guests ---------------------------------------------------------------------------

RIGHT = {
    "action": "save",
    "timeout": 7,
    "methods": ["acpi"],
    "on_timeout": ["destroy"],
    "needs": ["db"],
    "resend": 1.5,
    "before_stop": [["sync"]],
    "hook_timeout": 9,
    "parallel": 3,
    "uris": ["lxc:///"],
    "budget": 77,
    "boot": "restore",
}
RULES = st.dictionaries(st.sampled_from([*GUEST, "match", "x"]), JSON, max_size=4)
POLICY = st.fixed_dictionaries(
    {},
    optional={
        **{key: JSON | st.just(RIGHT.get(key, "")) for key in (*GUEST, *HOST, "x")},
        "net": JSON | st.dictionaries(st.sampled_from(sorted(NET)), JSON),
        "guests": JSON | st.lists(RULES | RULES.map(lambda rule: {**rule, "match": "*"}), max_size=3),
    },
)


def is_usable(found: policy.GuestPolicy) -> bool:
    times = (found.timeout, found.resend, found.hook_timeout, found.start_delay)
    words = (*found.methods, *found.on_timeout, *found.needs, *(word for each in found.before_stop for word in each))
    return all(math.isfinite(each) and each >= 0 for each in times) and all(isinstance(word, str) for word in words)


@QUICK
@given(POLICY, TEXT)
def test_any_policy_is_one_that_guests_can_be_stopped_by(folder: Path, data: dict[str, Any], name: str) -> None:
    path = folder / "policy.json"
    path.write_text(json.dumps({"schema": 1, **data}))
    path.chmod(0o600)
    found = policy.load(path)
    mine = found.for_guest(name)
    assert is_usable(mine)
    assert all(isinstance(uri, str) for uri in found.uris)
    assert found.uris
    assert 0 <= timing.guest_seconds(mine, found.budget) <= 2e7
    after, _ = order.dependants([name, "db"], {each: found.for_guest(each).needs for each in (name, "db")})
    assert sorted(order.waves(after)) == sorted({name, "db"})
    assert all(len(text) < 400 + len(str(path)) for text in found.complaints)
    known = {key: value for key, value in data.items() if key in RIGHT and value == RIGHT[key] and value is not True}
    for key in known.keys() & GUEST.keys():
        assert getattr(found.base, key) == getattr(policy.compile_policy({key: RIGHT[key]}).base, key)
    assert policy.by_hand(found).base.action in ("shutdown", "save")


@QUICK
@given(bent(json.dumps({"schema": 1, **RIGHT})))
def test_a_policy_that_is_spoilt_is_never_silently_another(folder: Path, text: str) -> None:
    path = folder / "spoilt.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    path.chmod(0o600)
    found = policy.load(path)
    assert is_usable(found.base)
    with suppress(ValueError, RecursionError):
        said = json.loads(text)
        if isinstance(said, dict) and "action" in said and said["action"] != found.base.action:
            assert found.complaints
        return
    assert found.complaints


@pytest.mark.parametrize("depth", range(900, 1000, 20))
def test_a_value_of_any_depth_is_a_complaint(folder: Path, depth: int) -> None:
    path = folder / "deep.json"
    for value in (f'"needs": {"[" * depth}{"]" * depth}', f'"guests": [{"[" * depth}{"]" * depth}]'):
        path.write_text(f'{{"schema": 1, {value}}}')
        path.chmod(0o600)
        found = policy.load(path)
        assert found.complaints
        assert found.base == policy.GuestPolicy()


# -- profiles --------------------------------------------------------------------------------------------------------

PROFILE = (Path(__file__).parents[2] / "profiles/graceful.toml").read_text(encoding="utf-8")
TOML = st.text(CHARACTERS.filter(lambda char: char != "\x00"), max_size=40) | bent(PROFILE)


@QUICK
@given(TOML)
def test_any_profile_is_taken_as_toml_says_or_refused_in_two_lines(folder: Path, text: str) -> None:
    path = folder / "my.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = profiles.load(str(path), Root(folder))
    except LvgError as error:
        assert error.todo  # noqa: PT017
        return
    for key, value in tomllib.loads(text).get("stopvm", {}).items():
        assert found.stop[key] == (tuple(value) if isinstance(value, list) else value)
    compiled = json.loads(json.dumps(profiles.compile_policy(found, {})))
    assert policy.compile_policy(compiled).complaints == ()


@QUICK
@given(TEXT | st.integers(1, 3000).map(lambda depth: "[" * depth) | st.integers(1, 400).map(lambda n: "a." * n + "b=1"))
def test_any_word_of_the_command_line_has_a_value(text: str) -> None:
    value_of(text)


# -- os-release ------------------------------------------------------------------------------------------------------

PLAIN = st.text(string.ascii_letters + string.digits + " .-_:/()", max_size=20)


@QUICK
@given(
    st.binary(max_size=200)
    | bent('NAME="Debian GNU/Linux"\nID=debian\nID_LIKE="a b"\nVERSION_ID="12"\n').map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_any_os_release_is_a_distro_or_unknown(folder: Path, data: bytes) -> None:
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/os-release").write_bytes(data)
    found = distros.read_os_release(Root(folder))
    assert found.family in distros.FAMILIES
    assert all(text.isprintable() for text in (found.id, found.name, found.version, *found.id_like))


@QUICK
@given(PLAIN, st.sampled_from(sorted(distros.FAMILY_OF)), st.sampled_from(["{}", "'{}'", '"{}"']), TEXT)
def test_an_os_release_says_what_it_says_to_sh(folder: Path, name: str, id_: str, quoted: str, comment: str) -> None:
    """os-release(5): it can be sourced by sh."""
    comment = "".join(char for char in comment if char.isprintable())
    text = f'# {comment}\nID={quoted.format(id_)}\n\nNAME={shlex.quote(name)}\nVERSION_ID="1.2"\n'
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/os-release").write_text(text)
    found = distros.read_os_release(Root(folder))
    assert (found.id, found.name, found.version) == (id_, name.strip(), "1.2")
    assert found.family == distros.FAMILY_OF[id_]


# -- qemu.conf -------------------------------------------------------------------------------------------------------

KEY = st.sampled_from(["auto_shutdown_try_save", "auto_shutdown_try_shutdown", "auto_shutdown_poweroff"])
SCOPE = st.sampled_from(["none", "persistent", "transient", "all"])
OTHER = st.sampled_from(
    [
        "",
        '# auto_shutdown_try_save = "all"',
        "#auto_shutdown_poweroff=1",
        'user = "root"',
        'auto_dump_path = "/x"',
        "auto_shutdown_wait = 30",
        'cgroup_device_acl = [\n    "/dev/null", "/dev/full",\n]',
        "xauto_shutdown_poweroff = 1",
    ]
)


@QUICK
@given(
    st.lists(
        st.tuples(KEY, SCOPE, st.sampled_from(['{} = "{}"', '{}="{}"', "\t{}\t=\t'{}' # why", '{} = "{}"#x'])) | OTHER
    )
)
def test_qemu_conf_means_its_last_assignments(folder: Path, lines: list[Any]) -> None:
    text = "\n".join(line if isinstance(line, str) else line[2].format(*line[:2]) for line in lines)
    (folder / "etc/libvirt").mkdir(parents=True, exist_ok=True)
    (folder / "etc/libvirt/qemu.conf").write_text(text)
    last = {line[0]: line[1] for line in lines if not isinstance(line, str)}
    assert neighbours.auto_shutdown(Root(folder)) == {key: value for key, value in last.items() if value != "none"}


@QUICK
@given(st.binary(max_size=300))
def test_any_qemu_conf_is_read(folder: Path, data: bytes) -> None:
    (folder / "etc/libvirt").mkdir(parents=True, exist_ok=True)
    (folder / "etc/libvirt/qemu.conf").write_bytes(data)
    assert isinstance(neighbours.auto_shutdown(Root(folder)), dict)


# -- agents ----------------------------------------------------------------------------------------------------------

REPLY = JSON | st.fixed_dictionaries(
    {
        "return": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "pid": JSON | st.just(7),
                "exited": JSON | st.just(True),
                "exitcode": JSON | st.integers(0, 255),
                "signal": JSON,
                "out-data": JSON | st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
                "err-data": JSON,
                "supported_commands": JSON | st.lists(st.fixed_dictionaries({"name": JSON, "enabled": JSON})),
                "pretty-name": JSON,
            },
        )
    }
)


@QUICK
@given(st.lists(REPLY.map(json.dumps) | TEXT, min_size=1, max_size=4))
def test_any_answers_of_an_agent_are_an_end_or_an_error_in_time(replies: list[str]) -> None:
    said = iter(replies)

    async def ask(request: str) -> str:
        json.loads(request)
        found = next(said, None)
        if found is None:
            await asyncio.sleep(60)  # it says no more
        return found or ""

    async def run() -> None:
        try:
            code, output = await asyncio.wait_for(agent.run(("sync",), 0.01, ask), 10)
        except LibvirtError as error:
            assert str(error)  # noqa: PT017
        else:
            assert isinstance(code, int)
            assert isinstance(output, str)

    asyncio.run(run())


@QUICK
@given(REPLY.map(json.dumps) | TEXT, REPLY.map(json.dumps) | TEXT, st.sampled_from(["ok", "silent"]))
def test_no_agent_makes_a_guest_unknown(info: str, system: str, state: str) -> None:
    guest = {
        "guest": "u",
        "name": "vm",
        "state": [1, 0],
        "persistent": True,
        "autostart": False,
        "managed_save": False,
        "xml": "<domain/>",
        "pid": 7,
        "emulator_is_gone": False,
    }
    lines = [guest, {"agent": "u", "info": info, "os": system, "state": state}, {"listed": True}]
    (found,) = parse.answers(
        ["default"], [json.dumps({"uri": "default", **each}).encode() for each in lines], "", 1.0, True
    )
    assert [each.name for each in found.guests] == ["vm"]
    assert len(found.guests[0].os) <= 80


# -- what libvirt has of a guest -------------------------------------------------------------------------------------

DOMAIN = (
    "<domain type='kvm' id='1'><name>vm</name><uuid>u</uuid><memory unit='KiB'>1048576</memory>"
    "<os><type arch='x86_64'>hvm</type></os><features><acpi/></features><on_poweroff>destroy</on_poweroff><devices>"
    "<disk type='file' device='disk'><source file='/srv/a.qcow2'/><target dev='vda'/></disk>"
    "<hostdev mode='subsystem'/><channel type='unix'><source path='/run/a'/>"
    "<target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel></devices></domain>"
)


@QUICK
@given(bent(DOMAIN) | TEXT, st.integers(0, 12_000_000))
def test_any_definition_is_read_or_said_to_be_of_no_use(text: str, version: int) -> None:
    found = definition.read(text, version)
    assert math.isfinite(found.memory)
    assert found.agent in ("", "connected") or "state=" in text
    if found.wrong:
        assert found == definition.Definition(wrong=found.wrong)
    elif (
        "org.qemu.guest_agent.0" in text and "<hostdev mode" in text and re.search(r"<devices>.*</devices>", text, re.S)
    ):
        assert found.hostdev or "<!--" in text or "CDATA" in text


@QUICK
@given(bent(f"<domstatus><monitor path='/m' type='unix'/><job async='save'/>{DOMAIN}</domstatus>") | TEXT)
def test_any_state_file_is_a_guest_or_none(text: str) -> None:
    with suppress(ValueError):
        found = qemuprocess.described(text, Path("/root-of-test"), True)
        assert found.name
        assert found.uuid
        assert Path("/root-of-test") in found.monitor.parents or found.monitor == Path("/root-of-test")


LOG = b"""2026-11-22 21:00:00.000+0000: starting up libvirt version: 9.0.0
char device redirected to /dev/pts/1
2026-11-22 22:00:00.000+0000: shutting down, reason=shutdown
"""


@QUICK
@given(
    st.lists(st.sampled_from(LOG.splitlines(keepends=True)) | st.binary(max_size=40), max_size=8).map(b"".join),
    st.booleans(),
)
def test_any_log_of_a_guest_tells_of_runs(log: bytes, active: bool) -> None:
    found = powercut.past(powercut.runs(log), active)
    assert isinstance(powercut.cut_short(found), str)
    assert powercut.ended(found, "2026-11-22 22:00:00") in ("", "clean", "cut", "saved", "destroyed", "moved", "lost")


# -- records ---------------------------------------------------------------------------------------------------------

ENTRY = asdict(history.Entry("default", "u", "vm", verdict="clean", seconds=1.0))
RECORD = history.Record(started="2026-11-22T23:14:05Z", ended="2026-11-22T23:18:17Z", exit_code=0).as_json()
GUESTS = st.lists(
    st.fixed_dictionaries({key: st.just(value) for key, value in ENTRY.items()}, optional={})
    | st.fixed_dictionaries({key: st.just(value) | JSON for key, value in ENTRY.items()}),
    max_size=3,
)
RECORDS = st.fixed_dictionaries(
    {**{key: st.just(value) | JSON for key, value in RECORD.items()}, "guests": GUESTS | JSON}
)


@QUICK
@given(RECORDS.map(json.dumps) | bent(json.dumps({**RECORD, "guests": [ENTRY]})) | TEXT, JSON)
def test_any_record_is_used_as_it_stands_or_passed_over(folder: Path, text: str, note: Any) -> None:
    path = folder / "var/lib/lvg/history/00000001-x.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    store = history.History(folder / "var/lib/lvg")
    found = store.latest()
    pasts, complaints = shutdowns.past(Root(folder))
    assert bool(found) != bool(store.complaints)
    assert (bool(pasts), len(complaints)) == (bool(found), len(store.complaints))
    record = found[1] if found else None
    assert show.status(policy.Policy(), record, store.complaints, "boot").endswith("\n")
    assert all(0 < seconds < 1e7 for seconds in shutdowns.usual(pasts).values())
    if record:
        said = json.loads(text)
        assert {**asdict(record), **said, "guests": [], "carried": []} == {
            **said,
            **asdict(record),
            "guests": [],
            "carried": [],
        }
        assert len(record.guests) == len(said.get("guests", []))
    (folder / "var/lib/lvg/boot.json").write_text(json.dumps(note))
    assert lastboot.noted(folder / "var/lib/lvg", folder / "none") is None


def test_a_note_that_is_nested_too_deep_is_none(tmp_path: Path) -> None:
    (tmp_path / "boot.json").write_text("[" * 100_000)
    assert lastboot.noted(tmp_path, tmp_path / "none") is None


@QUICK
@given(
    st.fixed_dictionaries(
        {
            key: NUMBER | TEXT | st.dictionaries(TEXT, TEXT | st.none(), max_size=2)
            for key in ("boot_id", "record", "cuts")
        }
    )
)
def test_what_is_noted_of_a_boot_is_of_its_types(folder: Path, note: dict[str, Any]) -> None:
    (folder / "boot.json").write_text(json.dumps({"schema": 1, **note}))
    found = lastboot.noted(folder, folder / "none")
    assert found is None or all(isinstance(word, str) for pair in found.cuts.items() for word in pair)
