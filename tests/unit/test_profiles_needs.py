"""Circles in what guests need, seen in the rules before any guest is known."""

import pytest

from lvg.profiles.needs import circle

NONE = [
    [],
    [("db", ["nas"])],
    [("db", ["nas"]), ("web", ["db", "nas"])],
    [("*", ["nas"])],  # all others need nas
    [("*", ["nas", "dns"]), ("dns", ["nas"]), ("nas", [])],
    [("db*", ["web*"]), ("web*", ["db-main"]), ("db-main", [])],  # the later rule frees db-main
    [("a", ["b"]), ("b", ["a"]), ("b", [])],
    [("db[12]", ["nas"]), ("nas", ["ups?"])],
    [("*", ["*"]), ("*", [])],
    [("NAS", ["nas"]), ("nas", ["switch"])],  # names tell upper from lower case
]

CIRCLES = [
    ([("nas", ["nas"])], {"nas"}),
    ([("a", ["b"]), ("b", ["a"])], {"a", "b"}),
    ([("a", ["b"]), ("b", ["c"]), ("c", ["x", "a"])], {"a", "b", "c"}),
    ([("*", ["nas", "dns"])], {"nas", "dns"}),
    ([("*", ["*"])], {"*"}),
    ([("nas", []), ("web*", ["nas", "web*"])], {"web*"}),
    ([("db*", ["web*"]), ("web*", ["db*"])], {"db*", "web*"}),
    ([("db*", ["web"]), ("web", ["db7"])], {"db7", "web"}),
    ([("db[12]", ["web"]), ("web", ["db1"])], {"db1", "web"}),
    ([("a", []), ("a", ["b"]), ("b", ["a"])], {"a", "b"}),
]


@pytest.mark.parametrize("rules", NONE)
def test_no_circle(rules: list[tuple[str, list[str]]]) -> None:
    assert circle(rules) == ()


@pytest.mark.parametrize(("rules", "members"), CIRCLES)
def test_circle_is_named_from_end_to_end(rules: list[tuple[str, list[str]]], members: set[str]) -> None:
    found = circle(rules)
    assert found[0] == found[-1]
    assert set(found) == members


def test_a_long_chain_is_no_circle_and_its_closing_is_one() -> None:
    chain = [(f"g{number}", [f"g{number + 1}"]) for number in range(300)]
    assert circle(chain) == ()
    assert len(circle([*chain, ("g300", ["g0"])])) == 302
