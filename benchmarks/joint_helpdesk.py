"""`make bench-joint`: what thresholds chosen together gain on the helpdesk, and what any could at the very most.

    python benchmarks/joint_helpdesk.py [--parts NAME …] [--limit N] [--keep FILE] [--json] [--record]

The requests whose right result is known, of the parts that fitted no confidence in answers, are run once, with no
threshold in the way, by the small model that the helpdesk's artifacts are fitted to. What other thresholds would give
to the large model or to a person follows from the decisions of that run. The large model is not run: it is taken to be
always right and, beside that, to be a person. On redraws of the rows thresholds are chosen together and stage by stage;
beside them stand the best ones, chosen with the outcome of every request in sight.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results
from benchmarks.patterns import HELPDESK
from sluicegate.errors import InsufficientDataError
from sluicegate.evals.joint.recording import Recorded, ThresholdDecision, named, read_recorded, record
from sluicegate.evals.joint.walking import candidates
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.learning.threshold import NEVER, fit_threshold
from sluicegate.learning.threshold import candidates as threshold_candidates
from sluicegate.routing.joint.fit import ORDER, Outcomes, choose
from sluicegate.routing.joint.thresholds import SCORES, Vector
from sluicegate.services import Completion, ModelRequest, ModelStep, Services

PARTS = ("calibration", "answers")
BOUNDS = (0.15, 0.2, 0.25)
CONFIDENCE = 0.95
MODELS = """
models:
  slm: {use: "embedded:smollm2-135m", otherwise: [], timeout_s: 600}
  llm: {use: "embedded:smollm2-135m", otherwise: []}
"""


class WithoutLarge(ModelStep):
    """Models of which the large one is not run: what becomes of its answers is not looked at."""

    async def chat(self, request: ModelRequest) -> Completion:
        if request.role != "llm":
            return await self._models.chat(request)
        # asked to quote, it picks nothing: the best sentences are quoted whatever a model picks
        return Completion("?", "none", "none", 1, 1, "stop", 0.0, 0.0, parsed={"sentences": []})


def _without_large(services: Services) -> Services:
    return replace(services, models=WithoutLarge(services.models))


LARGE = {"always right": True, "a person": False}
"""What stands in the large model's place, and whether what it is given goes out."""


async def recorded(
    workflow: Workflow, parts: Sequence[str], limit: int, folder: Path, keep: Path
) -> dict[str, list[Recorded]]:
    """By part; what `keep` has already is not run again."""
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.retrieval.files import indexes_of
    from sluicegate.retrieval.ingest import ingest

    opened = open_workflow(workflow)
    for name, index in workflow.config.indexes.items():
        await ingest(indexes_of(workflow.name) / name, [], index, opened.models, folders=workflow.folders)
    done = {row.case: row for row in read_recorded(keep)}
    found: dict[str, list[Recorded]] = {}
    with keep.open("a", encoding="utf-8") as file:

        def write(row: Recorded) -> None:
            done[row.case] = row
            file.write(row.line())
            file.flush()
            print(f"\r{len(done)} requests", end="", file=sys.stderr, flush=True)

        for part in parts:
            cases = [case for case in read_cases(HELPDESK / "examples" / f"{part}.jsonl") if case.expects_result]
            random.Random(0).shuffle(cases)
            cases = cases[: limit or None]
            left = [case for case in cases if case.id not in done]
            await record(workflow, left, folder / part, on_row=write, change=_without_large, values=(0.0,))
            found[part] = [done[case.id] for case in cases if case.id in done]
    print(file=sys.stderr)
    return found


def followed(workflow: Workflow, rows: Sequence[Recorded], vectors: Sequence[Vector], *, large: bool) -> Outcomes:
    """What thresholds make of the rows, each of which was run with none: where a decision leads elsewhere, to the large
    model or to a person. What the large model is given is sent, and right, or is not sent."""
    names, shape = list(vectors[0]), (len(vectors), len(rows))
    table = np.array([[vector[name] for name in names] for vector in vectors])
    sent, wrong, kept = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    for number, row in enumerate(rows):
        way = row.ways[0]
        stays, given = np.full(len(vectors), not way.large), np.full(len(vectors), way.large)
        for decision in way.decisions:
            read = [at for at, name in enumerate(names) if decision.values.get(name) == way.at[name]]
            distinct, group = np.unique(table[:, read], axis=0, return_inverse=True)
            ends = [
                _led(workflow, decision, dict(zip([names[at] for at in read], each, strict=True))) for each in distinct
            ]
            moved = stays & np.array([end != decision.to for end in ends])[group.reshape(-1)]
            larger = np.array([workflow.flow.nodes[end].kind == "llm-synthesize" for end in ends])[group.reshape(-1)]
            given |= moved & larger
            stays &= ~moved
        sent[:, number] = stays & way.sent | given & large
        wrong[:, number] = stays & way.wrong
        kept[:, number] = stays & way.kept
    return Outcomes(sent, wrong, kept)


def _led(workflow: Workflow, decision: ThresholdDecision, thresholds: Vector) -> str:
    """The node to which a decision leads under other thresholds."""
    values = {**decision.values, **thresholds}
    known = {name: value for name, value in values.items() if value is not None}
    edges = workflow.flow.nodes[decision.node].edges
    return next(
        edge.to for edge in edges if edge.condition is None or workflow.conditions[edge.condition].known(known) is True
    )


def best(workflow: Workflow, rows: Sequence[Recorded], bounds: Sequence[float], *, large: bool) -> dict[float, int]:
    """The most that any thresholds keep from the large model and from people while they send no more than each bound
    wrong, chosen with the outcome of every row in sight."""
    names = named(workflow)
    # every value at which a row ends otherwise, not the few quantiles that a fit tries
    values = [
        sorted({0.0, NEVER} | {way.scores[field] for row in rows for way in row.ways if field in way.scores})
        for field in (SCORES[name].field for name in names)
    ]
    vectors = [dict(zip(names, each, strict=True)) for each in product(*values)]
    outcomes = followed(workflow, rows, vectors, large=large)
    sent, wrong, kept = (getattr(outcomes, name).sum(axis=1) for name in ("sent", "wrong", "kept"))
    return {bound: int(np.max(kept[wrong <= bound * sent], initial=0)) for bound in bounds}


def redrawn(workflow: Workflow, rows: Sequence[Recorded], error: float, redraws: int, *, large: bool) -> dict[str, Any]:
    """Thresholds chosen together on redraws of the rows, with replacement, so that the risk on all of them is the true
    one; and the stage-wise ones that the same redraws prove: the router's as it is, the answers' for this bound."""
    outcomes = followed(workflow, rows, candidates(named(workflow), rows), large=large)
    route = json.loads((HELPDESK / "routers" / "helpdesk" / "card.json").read_text())["threshold"]["value"]
    (own,) = followed(workflow, rows, [{"router.threshold": route, "answer.threshold": 0.0}], large=large).kept
    score = np.array([row.ways[0].scores.get("answer.confidence", 1.0) for row in rows])
    right = np.array([row.ways[0].right for row in rows])
    rng, count = np.random.default_rng(17), len(rows)
    kept: list[float] = []
    stage_kept: list[float] = []
    broken = refused = 0
    for _ in range(redraws):
        drawn = rng.integers(0, count, count)
        order, proof = drawn[: count // ORDER], drawn[count // ORDER :]
        try:
            chosen = choose(outcomes.of(order), outcomes.of(proof), error=error, confidence=CONFIDENCE).candidate
        except InsufficientDataError:
            refused += 1
            kept.append(0.0)
        else:
            kept.append(float(outcomes.kept[chosen].mean()))
            broken += bool(outcomes.wrong[chosen].sum() > error * outcomes.sent[chosen].sum())
        first, second = order[own[order]], proof[own[proof]]
        values = threshold_candidates(score[first], right[first], rows=len(second), error=error, level=CONFIDENCE)
        found = fit_threshold(score[second], right[second], values, error=error, level=CONFIDENCE)
        stage_kept.append(float((own & (score >= found.value)).mean()) if found else 0.0)
    return {
        "broken": broken,
        "refused": refused,
        "redraws": redraws,
        "kept": float(np.mean(kept)),
        "stagewise_kept": float(np.mean(stage_kept)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--limit", type=int, default=0, help="A part's first N requests, in one fixed random order.")
    parser.add_argument("--keep", type=Path, help="Keep the recording here, and go on with one that is there.")
    parser.add_argument("--redraws", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        overlay = Path(home) / "workflow.yaml"
        overlay.write_text(f'extends: "{HELPDESK / "workflow.yaml"}"\n{MODELS}')
        workflow = load(overlay)
        keep = options.keep or Path(home) / "recorded.jsonl"
        for part, rows in asyncio.run(recorded(workflow, options.parts, options.limit, Path(home), keep)).items():
            for name, large in LARGE.items():
                most = best(workflow, rows, BOUNDS, large=large)
                found += [
                    {"part": part, "rows": len(rows), "large": name, "error": error, "best": most[error]}
                    | redrawn(workflow, rows, error, options.redraws, large=large)
                    for error in BOUNDS
                ]
    print(json.dumps(found) if options.json else "\n".join(map(str, found)))
    if options.record:
        columns = ["requests", "large model", "bound", "broken", "refused", "together", "stage-wise", "gain", "best"]
        results.record(
            "joint_helpdesk", "One bound on the helpdesk", ABOUT, [results.table(columns, *map(line, found))]
        )


def line(one: dict[str, Any]) -> list[str]:
    return [
        f"`{one['part']}.jsonl`, {one['rows']}",
        one["large"],
        f"{one['error']:.0%}",
        f"{one['broken']} of {one['redraws']}",
        f"{one['refused']} of {one['redraws']}",
        f"{one['kept']:.0%}",
        f"{one['stagewise_kept']:.0%}",
        f"{one['kept'] / one['stagewise_kept'] - 1:+.0%}" if one["stagewise_kept"] else "",
        f"{one['best'] / one['rows']:.0%}",
    ]


ABOUT = """
The share of the helpdesk's graded requests that are answered without the large model and without a person. Each redraw
takes as many rows as there are, with replacement; on them thresholds are chosen together, and the answers' threshold
alone is proved for the same bound with the router's as it is (stage-wise). Refused fits count as none. Best: thresholds
chosen with every outcome in sight, which no method can beat. The large model is not run: at one end it is always right,
at the other a person stands in its place. The small model is SmolLM2-135M.
"""


if __name__ == "__main__":
    main()
