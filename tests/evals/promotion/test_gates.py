"""The gates: verdicts and their reasons, exact bounds, error rates of the whole decision, speed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.errors import ConfigError
from sluicegate.evals.promotion.gates import Pair, decide, looks
from sluicegate.evals.promotion.plan import Plan, read_plan
from tests.support.shadowing import PLAN


def plan(**changed: Any) -> Plan:
    return Plan.model_validate({**PLAN, **changed})


def pairs(
    n: int, *, seed: int = 0, quality: tuple[float, float] = (0.05, 0.05), gain: float = 0.2, failing: int = 0
) -> list[Pair]:
    """`quality` is the chance to lose and to win a check; `gain` the chance to save a large call."""
    rng = np.random.default_rng(seed)
    change = rng.choice([-1, 0, 1], n, p=[quality[0], 1 - sum(quality), quality[1]])
    saves = rng.random(n) < gain
    return [
        Pair(
            f"a{row}", f"b{row}", f"2026-11-{1 + row * 4 // n:02}",
            {"checks_passed": float(change[row] <= 0), "without_llm": 0.0},
            {"checks_passed": float(change[row] >= 0), "without_llm": float(saves[row])},
            ("failed",) if row < failing else (),
            slices={"intent": "vpn" if row % 3 else "mail"},
        )
        for row in range(n)
    ]  # fmt: skip


@pytest.mark.slow
def test_promotes_what_is_better_and_no_worse() -> None:
    found = decide(plan(), pairs(1500))
    assert found.verdict == "PROMOTE"
    assert found.reason.startswith("Every gate passes, and without_llm is better by +0.")
    assert [gate.state for gate in found.gates] == ["passed"] * 4
    assert [gate.kind for gate in found.gates] == ["validity", "safety", "no worse", "better"]


LESS = "the human-interrupt node `approve` is removed"
ALLOWED = {"weakens": [{"what": LESS, "reason": "leads decide these in another system now"}]}
ONE_DAY = [replace(each, day="2026-11-01") for each in pairs(1500)]
CASES: list[tuple[str, list[Pair], dict[str, Any], dict[str, Any], str, str]] = [
    ("too few", pairs(100), {}, {}, "CONTINUE", "100 pairs of at least 200"),
    ("too few days", pairs(1500), {"days": 7}, {}, "CONTINUE", "pairs from 4 days of at least 7"),
    ("one day", ONE_DAY, {"days": 2}, {}, "CONTINUE", "pairs from 1 day of at least 2"),
    ("unsafe", pairs(1000, failing=90), {}, {}, "REJECT", "fails safety on failed: 90 of 1000"),
    ("safety open", pairs(1000, failing=25), {}, {}, "CONTINUE", "Still undecided: safety on failed"),
    ("worse", pairs(1500, quality=(0.2, 0.0)), {}, {}, "REJECT", "fails no worse on checks_passed"),
    ("not better", pairs(1500, gain=0.0), {"goal": {"metric": "without_llm", "by": 0.1}}, {}, "REJECT", "fails better"),
    ("never clear", pairs(3000, gain=0.0), {}, {}, "INCONCLUSIVE", "After the last of 2000 pairs, better"),
    ("changed", pairs(1500), {}, {"problems": ["the champion changed"]}, "INCONCLUSIVE", "the champion changed"),
    ("weaker", pairs(1500), {}, {"weakened": [LESS]}, "REJECT", "fails safety on promises: weaker than the champion"),
    ("weaker, as allowed", pairs(1500), ALLOWED, {"weakened": [LESS]}, "PROMOTE", "Every gate passes"),
    ("weaker in more", pairs(1500), ALLOWED, {"weakened": [LESS, "another"]}, "REJECT", "by the plan: another"),
    ("shed", pairs(1500), {}, {"shed": 900}, "INCONCLUSIVE", "38% of the sampled requests were not shadowed"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given", "changed", "more", "verdict", "reason"), CASES, ids=[c[0] for c in CASES])
def test_verdicts(
    name: str, given: list[Pair], changed: dict[str, Any], more: dict[str, Any], verdict: str, reason: str
) -> None:
    found = decide(plan(**changed), given, **more)
    assert found.verdict == verdict, found.reason
    assert reason in found.reason


@pytest.mark.slow
def test_a_metric_that_one_side_often_lacks_decides_nothing() -> None:
    given = [Pair(p.champion_run, p.challenger_run, p.day, p.champion, {"without_llm": 1.0}) for p in pairs(500)]
    found = decide(plan(), given)
    assert (found.verdict, "only one side has checks_passed in 100%" in found.reason) == ("INCONCLUSIVE", True)


@pytest.mark.slow
def test_a_metric_that_does_not_apply_is_not_missing() -> None:
    refused = [Pair("a", "b", p.day, {"without_llm": 1.0}, {"without_llm": 1.0}) for p in pairs(500)]
    found = decide(plan(), [*pairs(1500), *refused])
    assert found.verdict == "PROMOTE"
    assert [gate.bounds.n for gate in found.gates if gate.bounds] == [2000, 1500, 2000]


@pytest.mark.slow
def test_capped_metrics_are_shares_of_the_cap_and_lower_is_better() -> None:
    costly = plan(guardrails=[{"metric": "seconds", "margin": 0.1, "cap": 10.0}])
    slow = [Pair("a", "b", "d", {"seconds": 1.0, "without_llm": 0.0}, {"seconds": 99.0, "without_llm": 1.0})] * 500
    gate = decide(costly, slow).gates[-2]
    assert gate.state == "failed"
    assert gate.bounds is not None
    assert gate.bounds.mean == pytest.approx(-0.9)


@pytest.mark.slow
def test_safety_is_looked_at_when_the_plan_says() -> None:
    assert looks(plan()) == [200, 400, 800, 1600]
    # 200 pairs without an event: 1 - 0.0125 ** (1 / 200)
    gate = next(gate for gate in decide(plan(), pairs(200)).gates if gate.kind == "safety")
    assert gate.bounds is not None
    assert gate.bounds.high == pytest.approx(1 - 0.0125 ** (1 / 200))


def test_regressions_name_both_runs_worst_first() -> None:
    found = decide(plan(), pairs(400, quality=(0.1, 0.05), failing=3)).regressions
    assert len(found) == 10
    assert found[0]["loss"] >= found[-1]["loss"]
    assert found[0]["events"] == ["failed"]
    assert {"champion_run", "challenger_run", "withheld"} <= set(found[0])


def test_slices_and_sequence_are_shown() -> None:
    found = decide(plan(), pairs(600))
    assert {row["slice"] for row in found.slices} == {"intent: vpn", "intent: mail"}
    assert sum(row["bounds"].n for row in found.slices if row["metric"] == "without_llm") == 600
    assert found.sequence["without_llm"][-1].n == 600


def promoted_while_peeking(given: list[Pair], each: int = 40) -> bool:
    return any(decide(plan(), given[:n], detail=False).verdict == "PROMOTE" for n in range(200, len(given) + 1, each))


@pytest.mark.slow
def test_the_whole_decision_hardly_promotes_what_is_worse_by_the_margin() -> None:
    promoted = sum(promoted_while_peeking(pairs(600, seed=seed, quality=(0.1, 0.05))) for seed in range(60))
    # 60 runs of a 5 % event give more than 7 with chance 1 %
    assert promoted <= 7


@pytest.mark.slow
def test_a_hundred_thousand_pairs_are_judged() -> None:
    verdict = decide(plan(pairs={"minimum": 200, "maximum": 200_000}), pairs(100_000)).verdict
    assert verdict == "PROMOTE"


def test_plan_file_and_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "plan: next\ngoal: {metric: without_llm}\nguardrails: [{metric: checks_passed, margin: 0.05}]\n"
        "limits: [{event: failed, rate: 0.03}]\npairs: {minimum: 200, maximum: 2000}  # a comment\n"
    )
    assert read_plan(file).digest == plan().digest
    assert read_plan(file).digest != plan(error=0.04).digest


def test_a_plan_that_weakens_nothing_keeps_the_hash_that_it_had() -> None:
    assert plan().digest == plan(weakens=[]).digest != plan(**ALLOWED).digest


def test_a_weakening_is_allowed_for_a_reason() -> None:
    with pytest.raises(ValueError, match="at least three different words"):
        plan(weakens=[{"what": LESS, "reason": "todo"}])


def test_the_shipped_plan_is_valid() -> None:
    shipped = read_plan(Path("configs/helpdesk/eval/plan.yaml"))
    assert shipped.goal.metric == "without_llm"
    assert looks(shipped)[-1] <= shipped.pairs.maximum


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("goal: {metric: niceness}", "niceness"),
        ("goal: {metric: seconds}", "cap"),
        ("margin: 3", "margin"),
        ("pairs: {minimum: 200, maximum: 100}", "maximum"),
    ],
)
def test_a_bad_plan_says_where(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "plan.yaml"
    given = {
        "plan": "plan: next",
        "goal": "goal: {metric: without_llm}",
        "guardrails": "guardrails: [{metric: checks_passed, margin: 0.05}]",
        "limits": "limits: [{event: failed, rate: 0.03}]",
        "pairs": "pairs: {minimum: 200, maximum: 2000}",
    }
    given[line.split(":")[0]] = line
    file.write_text("\n".join(given.values()))
    with pytest.raises(ConfigError) as raised:
        read_plan(file)
    assert "plan.yaml:" in str(raised.value)
    assert said in str(raised.value)
