"""The doctor's checks of libvirt-guests' file: each fires on its trouble, and is silent without it."""

from dataclasses import replace

import pytest

from doctorhost import VALUES, facts, guest, ids, with_policy, with_service, with_settings, with_survey
from lvg.doctor.run import run
from lvg.doctor.table import CHECKS
from lvg.guests import Answer

LOOK = {check.id: check.look for check in CHECKS}
TEXT = "".join(f"{key}={value}\n" for key, value in VALUES.items())


def found(id_, seen):
    return [severity for _, severity, _ in ids(LOOK[id_], seen)]


def other(key, value):
    return with_settings(facts(), TEXT + f"{key}={value}\n")


def test_a_good_file_is_told_nothing():
    seen = run(with_settings(facts(), TEXT), CHECKS)

    assert [finding for finding in seen.findings if finding.id.startswith("B")] == []


@pytest.mark.parametrize(
    ("id_", "more", "severity"),
    [
        ("B2", "ON_BOOT='ignore\n", "failure"),
        ("B2", "if true; then\n", "failure"),
        ("B2", "SHUTDOWN_TIMEOUT = 600\n", "failure"),
        ("B3", "ON_SHUTDOWN=Shutdown\n", "failure"),
        ("B3", "SHUTDOWN_TIMEOUT=5m\n", "failure"),
        ("B3", "SHUTDOWN_TIMEOUT=240\r\n", "failure"),
        ("B3", "URIS=\n", "failure"),
        ("B3", "START_DELAY=soon\n", "warning"),
        ("B4", "ON_SHUTDOWN=shutdown\n", "warning"),
        ("B4", "on_boot=ignore\n", "warning"),
        ("B5", "SHUTDOWN_TIMEOUT=0\n", "failure"),
    ],
)
def test_a_line_that_is_wrong(id_, more, severity):
    assert severity in found(id_, with_settings(facts(), TEXT + more))


def test_a_file_that_sh_cannot_read_is_told_with_its_line():
    (finding,) = LOOK["B2"](with_settings(facts(), "ON_BOOT=ignore\nURIS='default\n"))

    assert "line 2" in finding.message
    assert finding.evidence == "/etc/default/libvirt-guests"


def test_two_files_that_may_be_meant():
    seen = facts()
    host = replace(
        seen.survey.host, disagreements=("the unit reads /etc/sysconfig/libvirt-guests, the script another",)
    )

    assert found("B1", with_survey(seen, host=host)) == ["warning"]
    assert found("B1", with_survey(seen, host=replace(host, disagreements=(), config_file=""))) == ["failure"]


@pytest.mark.parametrize(
    ("guests", "timeout", "parallel", "fires"),
    [(8, 240, 0, True), (8, 240, 1, True), (8, 240, 2, False), (7, 240, 0, False), (1, 3600, 0, False)],
)
def test_one_after_another_is_a_warning_only_where_it_takes_too_long(guests, timeout, parallel, fires):
    seen = facts(*(guest(f"vm{number}") for number in range(guests)))
    text = TEXT + f"SHUTDOWN_TIMEOUT={timeout}\nPARALLEL_SHUTDOWN={parallel}\n"

    assert found("B6", with_settings(seen, text)) == ["warning"] * fires


def test_a_guest_that_libvirt_guests_would_have_to_save_and_cannot():
    seen = facts(guest("plain"), guest("gpu", cannot_save=("it has a host device",)))
    seen = with_settings(seen, "ON_SHUTDOWN=suspend\nON_BOOT=start\n")

    assert ids(LOOK["B7"], seen) == [], "stopvm shuts it down"
    left = with_policy(seen, base=replace(seen.policy.base, action="none"))
    assert ids(LOOK["B7"], left) == [("B7", "failure", "gpu")]
    assert ids(LOOK["B7"], with_survey(seen, record=None)) == [("B7", "failure", "gpu")]
    assert ids(LOOK["B7"], with_settings(left, TEXT)) == []


def test_a_libvirt_that_does_not_answer():
    answers = (Answer("default"), Answer("qemu+ssh://far/system", error="no answer in 8 s"))

    (finding,) = LOOK["B8"](facts(answers=answers))
    assert (finding.severity, finding.remedy) == ("failure", "virsh -c qemu+ssh://far/system list")
    assert "no answer in 8 s" in finding.message


def test_defaults_are_named_as_the_installed_script_has_them():
    seen = with_settings(facts(), "ON_BOOT=ignore\n")
    seen = replace(seen, files={seen.survey.host.service.script: 'URIS="default"\nON_SHUTDOWN="shutdown"\n'})

    (finding,) = LOOK["B9"](seen)
    assert "ON_SHUTDOWN" in finding.message
    assert "default is shutdown" in finding.message
    assert "default is suspend" in next(iter(LOOK["B9"](replace(seen, files={})))).message
    assert found("B9", with_service(seen, installed=False)) == []


def test_openrcs_file_has_other_keys():
    seen = facts()
    seen = with_survey(seen, host=replace(seen.survey.host, dialect="openrc", init="openrc"))

    fine = with_settings(seen, 'LIBVIRT_URIS="qemu:///system"\nLIBVIRT_SHUTDOWN="shutdown"\nLIBVIRT_MAXWAIT="240"\n')
    assert [each for each in run(fine, CHECKS).findings if each.id.startswith("B")] == []
    assert found("B3", with_settings(seen, 'LIBVIRT_MAXWAIT="0"\n')) == ["failure"]
