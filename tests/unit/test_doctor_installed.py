"""The doctor's checks of what stops the guests: each fires on its trouble, and is silent without it."""

from dataclasses import replace

import pytest

import doctorhost
from doctorhost import ids
from lvg.doctor import releases
from lvg.doctor.run import run
from lvg.doctor.table import CHECKS
from lvg.doctor.types import Settings
from lvg.filestate import ABSENT, file_state
from lvg.guests import Answer
from lvg.layout import GUEST_LIST, LOCAL_PROGRAM, POLICY

GUESTS, STOPVM = "libvirt-guests.service", "graceful-shutdown.service"
LOOK = {check.id: check.look for check in CHECKS}


def found(id_, facts):
    return [severity for _, severity, _ in ids(LOOK[id_], facts)]


def test_a_healthy_host_is_told_nothing():
    diagnosis = run(doctorhost.facts(), CHECKS)

    assert diagnosis.findings == ()
    assert diagnosis.verdict == "ok"


@pytest.mark.parametrize(
    ("id_", "unit", "properties"),
    [
        ("A1", GUESTS, {"ActiveState": "inactive"}),
        ("A1", GUESTS, {"ActiveState": "failed"}),
        ("A1", GUESTS, {"UnitFileState": "disabled"}),
        ("A2", GUESTS, {"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}),
        ("A2", GUESTS, {"LoadState": "bad-setting"}),
        ("A2", GUESTS, {"ExecStop": ""}),
        ("A3", STOPVM, {"ActiveState": "inactive"}),
        ("A3", STOPVM, {"UnitFileState": "disabled"}),
        ("A3", STOPVM, {"LoadState": "masked"}),
        ("A3", STOPVM, {"LoadState": "not-found"}),
        ("A3", STOPVM, {"ExecStop": "{ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no }"}),
        ("A3", STOPVM, {"After": "network.target"}),
        ("A12", GUESTS, {"Requires": "sysinit.target libvirtd.service"}),
        ("A12", STOPVM, {"PartOf": "virtqemud.service"}),
        ("A12", STOPVM, {"BindsTo": "libvirtd.socket"}),
    ],
)
def test_a_unit_that_will_not_stop_guests_is_a_failure(id_, unit, properties):
    assert found(id_, doctorhost.with_unit(doctorhost.facts(), unit, **properties)) == ["failure"]


def test_a_masked_libvirt_guests_is_told_once():
    # What systemd says of a masked unit that still runs.
    shown = {"After": "", "ExecStop": "", "TimeoutStopUSec": "1min 30s", "NeedDaemonReload": "yes"}
    facts = doctorhost.with_unit(doctorhost.facts(), GUESTS, LoadState="masked", ActiveState="active", **shown)

    (finding,) = (each for each in run(facts, CHECKS).findings if each.id != "A13")
    assert (finding.id, finding.severity) == ("A2", "failure")
    assert finding.remedy.startswith("systemctl unmask libvirt-guests.service")


@pytest.mark.parametrize(("path", "id_"), [(doctorhost.SCRIPT, "A2"), (LOCAL_PROGRAM, "A3")])
def test_a_program_that_cannot_be_run_is_a_failure(path, id_):
    facts = doctorhost.facts()
    broken = replace(facts, programs={**facts.programs, path: False})

    assert found(id_, broken) == ["failure"]
    assert path in next(iter(LOOK[id_](broken))).message


def test_a_host_without_libvirt_guests_is_told_what_to_install():
    facts = doctorhost.with_service(doctorhost.facts(), installed=False)
    facts = doctorhost.with_survey(facts, host=replace(facts.survey.host, advice="apt install libvirt-daemon-system"))

    (finding,) = LOOK["A2"](facts)
    assert (finding.severity, finding.remedy) == ("failure", "apt install libvirt-daemon-system")


def test_a_host_where_nothing_was_applied_is_warned_only_if_libvirt_guests_works():
    facts = doctorhost.with_survey(doctorhost.facts(), record=None)
    facts = doctorhost.with_unit(facts, STOPVM, LoadState="not-found", ActiveState="inactive", ExecStop="", After="")

    assert {(each.id, each.severity) for each in run(facts, CHECKS).findings} == {("A3", "warning")}

    down = doctorhost.with_unit(facts, GUESTS, ActiveState="inactive")
    assert ("A1", "failure") in {(each.id, each.severity) for each in run(down, CHECKS).findings}


def test_python_without_libvirt_is_a_failure():
    assert found("A3", doctorhost.facts(libvirt_module=False)) == ["failure"]


def test_an_old_list_is_a_failure_while_libvirt_guests_is_active():
    facts = doctorhost.facts()
    listed = doctorhost.with_survey(
        facts, states={**facts.survey.states, GUEST_LIST: file_state(b"default 1\n")}, waiting_guests=("default 1",)
    )

    assert found("A4", listed) == ["failure"]
    assert GUEST_LIST in next(iter(LOOK["A4"](listed))).remedy
    assert found("A4", doctorhost.with_unit(listed, GUESTS, ActiveState="inactive")) == [], "its start reads the list"


def with_version(facts, version):
    return replace(facts, answers=tuple(replace(answer, version=version) for answer in facts.answers))


AUTO = {"auto_shutdown_try_shutdown": "all"}


@pytest.mark.parametrize(
    ("version", "broken"),
    [(11_001_000, False), (11_002_000, True), (11_003_000, True), (11_005_000, True), (11_006_000, False)],
)
def test_libvirts_own_shutdown_of_guests_beside_ours_and_in_broken_releases(version, broken):
    facts = with_version(doctorhost.with_survey(doctorhost.facts(), auto_shutdown=AUTO), version)

    assert found("A5", facts) == ["failure"]
    assert found("A6", facts) == ["failure"] * broken
    assert found("A6", with_version(doctorhost.facts(), version)) == []


def test_libvirts_own_shutdown_alone_is_a_mechanism_too():
    facts = doctorhost.with_survey(doctorhost.facts(), auto_shutdown=AUTO, record=None)
    facts = doctorhost.with_service(facts, enabled="disabled", active="inactive")
    facts = doctorhost.with_unit(facts, GUESTS, UnitFileState="disabled", ActiveState="inactive")

    assert found("A1", facts) == []
    assert found("A5", facts) == []


@pytest.mark.parametrize(("version", "severities"), [(10_006_000, []), (10_007_000, ["warning"]), (10_008_000, [])])
def test_the_release_whose_virsh_breaks_libvirt_guests(version, severities):
    assert found("A7", with_version(doctorhost.facts(), version)) == severities


def test_a_cluster_manager_is_a_failure_if_guests_would_be_started_twice():
    facts = doctorhost.with_survey(doctorhost.facts(), owners=("pacemaker",))

    (finding,) = LOOK["A9"](facts)
    assert finding.severity == "failure"
    assert "pacemaker" in finding.message
    assert finding.remedy == """lvg-install --profile graceful --set 'boot="ignore"'"""
    assert found("A9", doctorhost.with_policy(facts, boot="ignore")) == ["warning"]


def test_drift_is_a_warning_that_names_it():
    facts = doctorhost.facts()
    edited = doctorhost.settings_file({**doctorhost.VALUES, "SHUTDOWN_TIMEOUT": "10"})
    changed = doctorhost.with_survey(facts, states={**facts.survey.states, doctorhost.CONFIG: edited})

    (finding,) = LOOK["A13"](changed)
    assert finding.severity == "warning"
    assert "SHUTDOWN_TIMEOUT is 10, expected 240" in finding.message
    gone = doctorhost.with_survey(facts, states={**facts.survey.states, doctorhost.CONFIG: ABSENT})
    assert "missing" in next(iter(LOOK["A13"](gone))).message


def test_a_policy_that_stopvm_cannot_read_is_a_warning():
    facts = doctorhost.with_policy(doctorhost.facts(), complaints=(f"{POLICY} cannot be used: not JSON.",))

    assert found("A14", facts) == ["warning"]
    assert found("A14", doctorhost.with_survey(facts, record=None)) == [], "nothing was applied, so there is none"


def test_what_could_not_be_gathered_is_a_warning():
    assert found("A0", doctorhost.facts(failed=("systemd: systemctl show did not answer in 5 s",))) == ["warning"]


def test_an_openrc_host_is_asked_for_started_services():
    started = frozenset(("libvirt-guests", "graceful-shutdown"))
    facts = doctorhost.facts(units={})
    record = replace(doctorhost.record(), init="openrc")
    host = replace(facts.survey.host, init="openrc")
    facts = doctorhost.with_survey(
        facts, host=host, record=record, running=False, openrc=True, started=started, units=facts.survey.units
    )

    assert run(facts, CHECKS).findings == ()
    own = replace(host, dialect="openrc", config_file="/etc/conf.d/libvirt-guests")
    values = {"LIBVIRT_URIS": "qemu:///system", "LIBVIRT_SHUTDOWN": "shutdown", "LIBVIRT_MAXWAIT": "240"}
    data = "".join(f'{key}="{value}"\n' for key, value in values.items()).encode()
    speaks = replace(facts, settings=Settings(own.config_file, data, values))
    said = run(doctorhost.with_survey(speaks, host=own), CHECKS).findings
    assert [finding for finding in said if finding.id != "A13"] == [], "only its file is not the one that was applied"
    assert found("A1", doctorhost.with_survey(facts, started=started - {"libvirt-guests"})) == ["failure"]
    assert found("A3", doctorhost.with_survey(facts, started=started - {"graceful-shutdown"})) == ["failure"]


def test_the_newest_answer_tells_the_version():
    facts = doctorhost.facts(answers=(Answer("default", version=9_000_000), Answer("qemu:///session", error="none")))

    assert releases.version_of(facts) == 9_000_000
