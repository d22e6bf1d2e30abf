"""What `stopvm stop --dry-run` says: what a stop would do with each guest, and in which order. Pure."""

from collections.abc import Sequence

from . import decide, order, timing
from .decide import Facts
from .policy import GuestPolicy, Policy

_FORCE = {"save": "saved", "destroy": "destroyed"}
_STEPS = {
    "leave": "left to libvirt-guests, as the policy says",
    "wait": "goes down already: waited for",
    "wake": "sleeps: woken, then ",
    "timeout": "has crashed",
}


def lines(rules: Policy, guests: Sequence[Facts], host_goes_down: bool) -> list[str]:
    """Return a heading, then one line for each guest, those first that are stopped first."""
    if not guests:
        return ["no guest would be stopped"]
    total = timing.work_seconds(rules, len(guests), host_goes_down)
    policies = {facts.name: rules.for_guest(facts.name) for facts in guests}
    needs = {name: policy.needs for name, policy in policies.items() if policy.needs}
    after, wrong = order.dependants([facts.name for facts in guests], needs)
    waves = order.waves(after)
    last = max(waves.values()) + 1
    left = "left to libvirt-guests" if host_goes_down else "left running"
    found = [_heading(len(guests), last, total, rules.parallel), *wrong]
    for facts in sorted(guests, key=lambda facts: (waves[facts.name], facts.name)):
        share = total * timing.wave_share(waves[facts.name], last)
        wave = f"{waves[facts.name] + 1}. " if last > 1 else ""
        first = sorted(after[facts.name])
        when = f", once {', '.join(first)} {'is' if len(first) == 1 else 'are'} down" if first else ""
        found.append(f"{wave}{facts.name}: {_what(facts, policies[facts.name], share, left)}{when}")
    return found


def _heading(guests: int, waves: int, seconds: float, parallel: int) -> str:
    one_by_one = f", at most {parallel} at a time" if parallel else ""
    rounds = f" in {waves} waves" if waves > 1 else ""
    noun = "1 guest" if guests == 1 else f"{guests} guests"
    return f"{noun} would be stopped{rounds}, within {seconds:.0f} s{one_by_one}:"


def _what(facts: Facts, policy: GuestPolicy, within: float, left: str) -> str:
    step = decide.opening(facts, policy)
    if step == "leave":
        return _STEPS[step]
    forced, before = _forced(facts, policy, left), _commands(policy)
    if step == "save" and not decide.why_not_save(facts):
        return f"{before}saved{' as it is, paused' if facts.state == 'paused' else ''}; if that fails: {forced}"
    if step == "timeout":
        return f"{before}{_STEPS[step]}: {forced}"
    seconds = timing.guest_seconds(policy, within, timing.save_seconds(facts.memory))
    if step == "wait":
        return f"{before}{_STEPS[step]} for {seconds:.0f} s; then: {forced}"
    ask = f"ask by {', then '.join(decide.methods(facts, policy))}"
    again = f", again every {policy.resend:.0f} s" if policy.resend else ""
    why = f"cannot be saved ({decide.why_not_save(facts)}): " if step == "save" else _STEPS["wake"]
    return f"{before}{'' if step == 'ask' else why}{ask} within {seconds:.0f} s{again}; then: {forced}"


def _forced(facts: Facts, policy: GuestPolicy, left: str) -> str:
    """Return what happens at the deadline, without what this guest cannot have; in the end it is left."""
    steps = [step for step in policy.on_timeout if step != "save" or not decide.why_not_save(facts)]
    if "leave" not in steps:
        steps.append("leave")
    return ", else ".join(_FORCE.get(step, left) for step in steps[: steps.index("leave") + 1])


def _commands(policy: GuestPolicy) -> str:
    inside = [" ".join(command) for command in policy.before_stop]
    outside = [f"{' '.join(command)} (on the host)" for command in policy.before_stop_host]
    return f"first {', '.join([*inside, *outside])}; " if inside or outside else ""
