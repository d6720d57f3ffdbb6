"""The gates between a challenger and its promotion: validity, hard safety, no worse, better. Pairs in, verdict out.

Error rates. Each gate that must be passed is tested at the plan's `error`; all of them must be passed, so the chance of
promoting a challenger that breaks any one margin is at most `error` (intersection-union test, Berger 1982), without a
correction for their number. No-worse and better are confidence sequences (`sequences`), valid at every look. The safety
bound is Clopper and Pearson's, which is valid at one size only; it is taken at sizes fixed by the plan (the minimum,
doubled until the maximum), each at its part of `error` (Bonferroni), and between them the last one stands as long as
the bound at the present size agrees.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sluicegate.evals.promotion.plan import LOWER_IS_BETTER, Bounded, Goal, Plan, SafetyLimit
from sluicegate.evals.promotion.sequences import Bounds, difference_bounds, difference_sequence
from sluicegate.learning.threshold import upper_bound

__all__ = ["Gate", "Pair", "PromotionDecision", "Verdict", "counted", "decide"]

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]
"""By metric, as `_values` gives them."""
Verdict = Literal["PROMOTE", "REJECT", "CONTINUE", "INCONCLUSIVE"]
State = Literal["passed", "failed", "open"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request, answered by both; a challenger that failed has the worst value of every metric."""

    champion_run: str
    challenger_run: str
    """Empty when the challenger did not start a run."""
    day: str
    champion: Mapping[str, float]
    """Metrics by name; one that could not be measured is absent."""
    challenger: Mapping[str, float]
    events: tuple[str, ...] = ()
    """What the challenger did of the plan's `limits`."""
    champion_events: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict[str, str])
    withheld: tuple[str, ...] = ()
    """Ids of the champion's documents that the challenger's policies do not let the requester read."""


@dataclass(frozen=True, slots=True)
class Gate:
    kind: Literal["validity", "safety", "no worse", "better"]
    name: str
    state: State
    reason: str
    bounds: Bounds | None = None
    """Of the difference, positive in the challenger's favour, in the metric's units or shares of its cap."""
    threshold: float | None = None
    """What `bounds.low` must be above (or the upper bound of a safety rate below)."""
    champion: float | None = None
    challenger: float | None = None


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    verdict: Verdict
    reason: str
    """In one sentence."""
    gates: list[Gate]
    pairs: int
    days: int
    slices: list[dict[str, Any]]
    """The goal's and guardrails' differences within each slice."""
    sequence: dict[str, list[Bounds]]
    """Per compared metric, the bounds over time."""
    regressions: list[dict[str, Any]]
    """The ten pairs in which the challenger did worst compared with the champion."""
    withheld: int = 0
    """Pairs in which the challenger's policies withheld a passage that the champion had."""


def decide(
    plan: Plan,
    pairs: Sequence[Pair],
    *,
    shed: int = 0,
    problems: Sequence[str] = (),
    weakened: Sequence[str] = (),
    detail: bool = True,
) -> PromotionDecision:
    """Judge pairs in the order they were made; those beyond the plan's maximum are left out.

    `shed` is how many sampled requests were not shadowed; `problems` are reasons why the pairs cannot be compared at
    all, such as a version that changed; `weakened` is what the challenger promises less than its champion, which is
    refused unless the plan allows it. `detail` False leaves out what is only for showing.
    """
    pairs = pairs[: plan.pairs.maximum]
    values = {item.metric: _values(item, pairs) for item in _items(plan)}
    days = len({pair.day for pair in pairs})
    gates = [
        *_validity(plan, pairs, values, shed, problems),
        *(_promise(plan, what) for what in weakened),
        *(_safety(plan, limit, pairs) for limit in plan.limits),
        *(_compared("no worse", plan, rail, values, -rail.margin) for rail in plan.guardrails),
        _compared("better", plan, plan.goal, values, plan.goal.by),
    ]
    verdict, reason = _verdict(plan, gates, len(pairs), days)
    compared = _items(plan) if detail else ()
    return PromotionDecision(
        verdict,
        reason,
        gates,
        len(pairs),
        days,
        _by_slice(plan, pairs, values) if detail else [],
        {item.metric: difference_sequence(_both(_gain(item, values)), plan.error) for item in compared},
        _regressions(plan, pairs, values) if detail else [],
        sum(bool(pair.withheld) for pair in pairs),
    )


def _items(plan: Plan) -> list[Bounded]:
    """What is compared, each metric once; the goal's own terms where it is a guardrail too."""
    return list({item.metric: item for item in (*plan.guardrails, plan.goal)}.values())


def _values(item: Bounded, pairs: Sequence[Pair]) -> Floats:
    """Champion and challenger by pair: (pairs, 2), NaN where absent, as they are measured."""
    name, absent = item.metric, math.nan
    found = [(pair.champion.get(name, absent), pair.challenger.get(name, absent)) for pair in pairs]
    return np.array(found, float).reshape(-1, 2)


def _gain(item: Bounded, values: Values) -> Floats:
    """Challenger minus champion by pair, in [-1, 1], positive where the challenger is better; NaN where one lacks."""
    found = values[item.metric]
    if item.cap:
        found = np.minimum(found, item.cap) / item.cap
    sign = -1 if item.metric in LOWER_IS_BETTER else 1
    return sign * (found[:, 1] - found[:, 0])


def _both(gains: Floats) -> Floats:
    return gains[~np.isnan(gains)]


def _validity(plan: Plan, pairs: Sequence[Pair], values: Values, shed: int, problems: Sequence[str]) -> list[Gate]:
    found = [Gate("validity", "same versions", "failed", problem) for problem in problems]
    for item in _items(plan):
        # a metric that neither has does not apply, such as the grounding of a refusal
        absent = np.isnan(values[item.metric])
        either = int((~absent.all(axis=1)).sum())
        missing = 1 - int((~absent.any(axis=1)).sum()) / either if either else 0.0
        if missing > plan.missing:
            reason = f"only one side has {item.metric} in {missing:.0%} of its pairs, more than {plan.missing:.0%}"
            found.append(Gate("validity", item.metric, "failed", reason))
    lost = shed / (shed + len(pairs)) if shed else 0.0
    if lost > plan.missing:
        found.append(Gate("validity", "shed", "failed", f"{lost:.0%} of the sampled requests were not shadowed"))
    short = plan.pairs.minimum - len(pairs)
    if short > 0:
        reason = f"{counted(len(pairs), 'pair')} of at least {plan.pairs.minimum}"
        found.append(Gate("validity", "pairs", "open", reason))
    days = len({pair.day for pair in pairs})
    if days < plan.days:
        found.append(Gate("validity", "days", "open", f"pairs from {counted(days, 'day')} of at least {plan.days}"))
    return found or [Gate("validity", "pairs", "passed", f"{counted(len(pairs), 'pair')} from {counted(days, 'day')}")]


def looks(plan: Plan) -> list[int]:
    """The sizes at which a safety bound is taken: the minimum, doubled, up to the maximum."""
    count = math.floor(math.log2(plan.pairs.maximum / plan.pairs.minimum)) + 1
    return [plan.pairs.minimum * 2**number for number in range(count)]


def _promise(plan: Plan, what: str) -> Gate:
    allowed = next((one.reason for one in plan.weakens if one.what == what), None)
    if allowed is None:
        return Gate("safety", "promises", "failed", f"weaker than the champion, and not allowed by the plan: {what}")
    return Gate("safety", "promises", "passed", f"{what}; allowed: {allowed}")


def _safety(plan: Plan, limit: SafetyLimit, pairs: Sequence[Pair]) -> Gate:
    sizes = looks(plan)
    level = 1 - plan.error / len(sizes)
    taken = max((size for size in sizes if size <= len(pairs)), default=len(pairs))
    counts = {size: sum(limit.event in pair.events for pair in pairs[:size]) for size in {taken, len(pairs)}}
    bound = max((upper_bound(count, size, level) if size else 1.0) for size, count in counts.items())
    count, n = counts[len(pairs)], len(pairs)
    own = sum(limit.event in pair.champion_events for pair in pairs)
    # the same exact bound from below, by symmetry
    low = 1 - upper_bound(n - count, n, level) if n else 0.0
    shown = Bounds(count / n if n else 0.0, low, bound, n)
    said = f"{count} of {counted(n, 'pair')}, at most {bound:.2%} with {level:.1%} confidence"
    if low > limit.rate:
        state: State = "failed"
        said += f"; certainly above the limit of {limit.rate:.2%}"
    elif bound <= limit.rate and n >= plan.pairs.minimum:
        state = "passed"
        said += f"; the limit is {limit.rate:.2%}"
    else:
        state = "open"
        said += f"; not yet below the limit of {limit.rate:.2%}"
    rates = {"champion": own / n, "challenger": count / n} if n else {}
    return Gate("safety", limit.event, state, said, shown, limit.rate, **rates)


def _compared(kind: Literal["no worse", "better"], plan: Plan, item: Bounded, values: Values, least: float) -> Gate:
    bounds = difference_bounds(_both(_gain(item, values)), plan.error)
    what = f"{bounds.mean:+.4f} ({bounds.low:+.4f} to {bounds.high:+.4f})"
    if bounds.low > least:
        state: State = "passed"
        said = f"{what}: above {least:+.4f}"
    elif bounds.high < least:
        state = "failed"
        said = f"{what}: below {least:+.4f}"
    else:
        state = "open"
        said = f"{what}: not yet clear of {least:+.4f}"
    champion, challenger = (_mean(item, values[item.metric][:, side]) for side in (0, 1))
    return Gate(kind, item.metric, state, said, bounds, least, champion, challenger)


def _mean(item: Bounded, side: Floats) -> float | None:
    there = _both(side)
    return float(np.minimum(there, item.cap or np.inf).mean()) if len(there) else None


def _verdict(plan: Plan, gates: Sequence[Gate], n: int, days: int) -> tuple[Verdict, str]:
    """The first gate, in their order, that is not passed decides."""
    broken = next((gate for gate in gates if gate.kind == "validity" and gate.state == "failed"), None)
    if broken:
        return "INCONCLUSIVE", f"The pairs cannot be compared: {broken.reason}."
    # a challenger that is certainly unsafe or worse is rejected without waiting for the minimum
    failed = next((gate for gate in gates if gate.state == "failed"), None)
    if failed:
        return "REJECT", f"The challenger fails {failed.kind} on {failed.name}: {failed.reason}."
    first = next((gate for gate in gates if gate.state == "open"), None)
    if first is None:
        goal = gates[-1]
        over = f"{counted(n, 'pair')}, {counted(days, 'day')}"
        return "PROMOTE", f"Every gate passes, and {goal.name} is better by {goal.reason} over {over}."
    waits = first.kind == "validity" and first.name == "days"
    if n >= plan.pairs.maximum and not waits:
        return (
            "INCONCLUSIVE",
            f"After the last of {n} pairs, {first.kind} on {first.name} is undecided: {first.reason}.",
        )
    return "CONTINUE", f"Still undecided: {first.kind} on {first.name}, {first.reason}."


def counted(count: int, what: str) -> str:
    """In words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _by_slice(plan: Plan, pairs: Sequence[Pair], values: Values) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    gains = [(item, _gain(item, values)) for item in _items(plan)]
    for name in plan.slices:
        groups: dict[str, list[int]] = {}
        for number, pair in enumerate(pairs):
            groups.setdefault(pair.slices.get(name, ""), []).append(number)
        for value, members in sorted(groups.items(), key=lambda group: -len(group[1])):
            for item, gain in gains:
                bounds = difference_bounds(_both(gain[members]), plan.error)
                least = item.by if isinstance(item, Goal) else -getattr(item, "margin", 0.0)
                rows.append(
                    {"slice": f"{name}: {value or '-'}", "metric": item.metric, "bounds": bounds, "threshold": least}
                )
    return rows


def _regressions(plan: Plan, pairs: Sequence[Pair], values: Values) -> list[dict[str, Any]]:
    by_metric = {item.metric: np.nan_to_num(_gain(item, values)) for item in _items(plan)}
    loss = -sum((np.minimum(gain, 0) for gain in by_metric.values()), np.zeros(len(pairs)))
    loss += np.array([len(pair.events) for pair in pairs])
    worst = [int(row) for row in np.argsort(-loss, kind="stable")[:10] if loss[row] >= 0.005]
    return [
        {
            "loss": float(loss[row]),
            "champion_run": pairs[row].champion_run,
            "challenger_run": pairs[row].challenger_run,
            "events": list(pairs[row].events),
            "differences": {name: float(gain[row]) for name, gain in by_metric.items() if gain[row]},
            "slices": dict(pairs[row].slices),
            "withheld": list(pairs[row].withheld),
        }
        for row in worst
    ]
