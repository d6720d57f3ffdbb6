"""A home with something to operate: runs, an evaluation and one before it, a challenger that has won, incidents,
a switch. Every text that people write is one that harms a page which does not escape it."""

import time
from pathlib import Path

from sluicegate.evals.evaluation.result_store import ResultStore, Row
from sluicegate.evals.evaluation.summary import as_json, summarise
from sluicegate.evals.promotion.gates import Pair
from sluicegate.evals.promotion.plan import Plan
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.versions import keep, kept
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.spans import RunInfo
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.serving.operating.switches import switch_off
from tests.support.shadowing import PLAN
from tests.support.stand import WORKFLOW

__all__ = ["HARM", "NAME", "evaluated", "reported", "shadowed", "switched", "walked", "written"]

HARM = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
NAME = "shadow-evaluation"
DAY_NS = 86_400 * 10**9


def written(folder: Path) -> tuple[Path, Path, Path]:
    """A champion, a challenger of it, and another workflow beside them, as files."""
    names = ("champion", "challenger", "other")
    files = (
        folder / names[0] / "workflow.yaml",
        folder / names[1] / "workflow.yaml",
        folder / names[2] / "workflow.yaml",
    )
    base = (WORKFLOW / "workflow.yaml").resolve()
    for number, file in enumerate(files, start=1):
        file.parent.mkdir(parents=True)
        purpose = (HARM + f" {number}").replace("'", "''")
        waive = "[{guarantee: approvals-cover, reason: 'nobody approves <b>anything</b> here at all'}]"
        name = "workflow: the-other\n" if number > 2 else ""
        file.write_text(f"extends: {base}\n{name}version: {number}\npurpose: '{purpose}'\nwaive: {waive}\n")
    return files


def shadowed(champion: Path, challenger: Path, *, pairs: int = 400) -> int:
    """A shadow whose challenger has won, with so many pairs."""
    ours, theirs = load(champion), load(challenger)
    keep(theirs)
    keep(ours)
    plan = Plan.model_validate({**PLAN, "plan": HARM})
    store = PairStore()
    at = store.start(
        ours.name, plan, champion=(str(champion), ours.digest), challenger=(str(kept(theirs.digest)), theirs.digest)
    )
    for number in range(pairs):
        pair = Pair(
            f"a{number}", f"b{number}", f"2026-11-{1 + number % 3:02}",
            {"checks_passed": 1.0, "without_llm": 0.0}, {"checks_passed": float(number != 7), "without_llm": 1.0},
            slices={"intent": HARM if number % 2 else "mail"},
        )  # fmt: skip
        store.add(at.number, pair, usd=0.0)
    store.close()
    return at.number


def evaluated(workflow: Path) -> None:
    """Two evaluations on the same requests; in the second one request became incorrect."""
    loaded, store = load(workflow), ResultStore()
    for under in ("first", "second"):
        rows = [
            Row(
                f"case{number}", f"run{number}", f"{HARM} {number}", "answered", "slm",
                "mail" if under == "first" or number else "rules", HARM, "fake:slm", "", ("intent: mail",),
                {"correct": float(under == "first" or number > 0), "intent_right": float(number % 5 > 0),
                 "confidence": 0.3 + 0.06 * (number % 10), "seconds": 0.1, "list_usd": 0.001},
            )
            for number in range(30)
        ]  # fmt: skip
        rows.append(Row("broken", "", f"{HARM} broken", "failed", "", "", "", "", "", (), {}, error=HARM))
        store.evaluated(loaded.name, "workflow", "d" * 64, loaded.digest, under, as_json(summarise(rows))["all"], rows)
    store.close()


def reported() -> list[str]:
    """An incident of the workflow, and one of the audit log."""
    incidents = Incidents()
    found = [
        incidents.record("policy-error", system=NAME, source=HARM, description=HARM, run="a1", impact=HARM),
        incidents.record("tampering", system="audit log", source="edited at record 1", description=HARM),
    ]
    incidents.annotate(found[0] or "", HARM, by=HARM)
    incidents.disconnect()
    return [each for each in found if each]


def switched() -> None:
    switch_off("intent:rules", reason=HARM, by=HARM)


def walked(runs: int) -> None:
    """So many classified runs, over the last twenty days, less sure since a week."""
    store, now, found = Store(), time.time_ns(), Writes()
    for number in range(runs):
        info = RunInfo(f"a{number}", f"{number:032x}", NAME, "1", "d", "", "", "", "", shadow=False, request=HARM)
        at = now - number * 20 * DAY_NS // runs - 10**9
        sure = 0.5 if number * 20 // runs < 7 else 0.9
        outcome = {
            "status": "answered", "intent": HARM if number % 10 == 0 else "mail",
            "confidence": sure + (number % 10) / 100, "threshold": 0.6,
        }  # fmt: skip
        found.begun.append((info, at))
        found.ended.append((info, at + 10**9, 1000.0, outcome))
    store.write(found)
    store.close()
