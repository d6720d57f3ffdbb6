"""`make bench-patterns`: each pattern on its example set, and how much of the helpdesk ends without the large model.

Runs the patterns' requests for real, in a home of their own, and compares them with what their rows expect. The
router's accuracy is that on the pattern's held-out rows. Money is at the list price in PRICE whatever answered:
``all-LLM`` is what one call of the large model would have cost for the same tokens. The helpdesk is evaluated as
`sluicegate eval` does it, on its held-out requests, and on those with known answers against ``all-slm`` and
``all-llm``. The small tasks are measured on the sets that come with the package.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results

PATTERNS = ROOT / "configs" / "patterns"
HELPDESK = ROOT / "configs" / "helpdesk"
PRICE = {"input": 0.25, "output": 2.00}
"""US dollars per million tokens of the large model in the examples' configs."""
TARGET = 0.85
MODELS = """
Without a server or a key: SmolLM2-135M, in the process, also answers in the large model's place. It writes badly: its
own words fail their checks or are cut off, and what goes out are quotations. So nothing here shows a real large model;
the shares of requests and the list prices carry over.
"""
PATTERNS_ABOUT = f"""
Each pattern on its own example requests, a handful, so *as expected* (intent, path, facts, citations, refusals, tool
calls) says that the pattern works, not how well a model does. The router is measured on held-out rows. *Large model* is
what its calls would cost at list price, *all-LLM* what one call of it would have cost for the same tokens. {MODELS}
"""
HELPDESK_ABOUT = f"""
The rows of `configs/helpdesk/examples/eval.jsonl` are hard, and hold each label equally often. Nothing was fitted on
them; their first measurement was read once and led to two corrections. For nearly all those of `eval/cases.jsonl` a
document has the answer; they are also run with every call to one of the two models. {MODELS}
"""
TASKS_ABOUT = """
On the embedded models. `classify` and `tag` compare embeddings (the limits of `tag` were chosen on its set); `check` by
a model of this size is no better than a coin, which is why the guard `slm-review` asks for a probe first.
"""


async def ready(file: Path) -> Any:
    """The opened workflow, its knowledge ingested. A busy processor is given time: this measures, it does not serve."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.models.chain import ModelSet
    from sluicegate.retrieval.files import indexes_of
    from sluicegate.retrieval.ingest import ingest

    workflow = load(file)
    patient = {role: one.model_copy(update={"timeout_s": 600.0}) for role, one in workflow.config.models.items()}
    opened = open_workflow(workflow, models=ModelSet(patient))
    for one in opened.workflow.family:
        for name, index in one.config.indexes.items():
            await ingest(indexes_of(one.name) / name, [], index, opened.models, folders=one.folders)
    return opened


def usd(prompt_tokens: int, completion_tokens: int) -> float:
    return (prompt_tokens * PRICE["input"] + completion_tokens * PRICE["output"]) / 1e6


def costs(opened: Any, outcome: Any) -> tuple[float, float]:
    """At list price: what the run's calls of the large model cost, and what the large model for all would have."""
    spend, answer = outcome.state.get("spend"), outcome.state.get("answer")
    if spend and spend["completion_tokens"]:
        whole = usd(spend["prompt_tokens"], spend["completion_tokens"])
        calls = spend["llm_calls"] + spend["slm_calls"]
        return whole * spend["llm_calls"] / calls, whole
    count = opened.models.tokens
    return 0.0, usd(count(outcome.state["request"]["text"]), count(answer["text"] if answer else ""))


async def pattern(folder: Path) -> dict[str, Any]:
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.evals.evaluation.scoring import measure

    opened = await ready(folder / "workflow.yaml")
    cases = read_cases(folder / "examples" / "requests.jsonl")
    router = opened.runner.services.router
    held = [json.loads(line) for line in (folder / "examples" / "eval.jsonl").read_text().splitlines()]
    right = sum([(await router.classify(row["text"])).label == row["label"] for row in held])
    first = next(row for row in held if opened.workflow.config.intents[row["label"]].task != "out-of-scope")
    await opened.runner.run(first["text"], cases[0].principal)  # loads models and guards; not counted
    times: list[float] = []
    good, paid, whole, paths, models = 0, 0.0, 0.0, Counter[str](), Counter[str]()
    for case in cases:
        outcome = await opened.runner.run(case.text, case.principal)
        found = measure(outcome, case)
        good += all(found.get(name, 1.0) == 1.0 for name in ("intent_right", "correct")) and outcome.path in (
            case.path, "cache"
        )  # fmt: skip
        own, all_of_it = costs(opened, outcome)
        paid, whole = paid + own, whole + all_of_it
        times.append(outcome.ms)
        paths[outcome.path] += 1
        answer = outcome.state.get("answer")
        if answer and answer["model"] and outcome.path != "cache":
            models[answer["model"]] += 1
    return {
        "pattern": folder.name, "requests": len(cases), "as_expected": good,
        "router_right": right, "router_rows": len(held),
        "median_ms": statistics.median(times), "max_ms": max(times), "usd": paid, "all_llm_usd": whole,
        "paths": dict(paths), "models": dict(models),
    }  # fmt: skip


async def evaluated(variant: Any, cases: Any) -> list[Any]:
    """The helpdesk's rows under a variant, as `sluicegate eval` makes them. Its knowledge is ingested before."""
    from sluicegate.evals.evaluation.baselines import opened_variant
    from sluicegate.evals.evaluation.evaluate import evaluate

    opened = opened_variant(HELPDESK / "workflow.yaml", Path(os.environ["SLUICEGATE_HOME"]) / variant, variant)
    done: list[Any] = []

    def told(row: Any) -> None:
        done.append(row)
        print(f"\r{variant}: {len(done)} of {len(cases)}", end="", file=sys.stderr, flush=True)

    rows = await evaluate(opened.runner, cases, under=variant, on_row=told)
    print(file=sys.stderr)
    return rows


async def helpdesk(most: int) -> dict[str, Any]:
    """How many of the held-out requests end without the large model, and the requests with known answers held
    against each model alone."""
    from sluicegate.evals.evaluation.baselines import VARIANTS
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.evals.evaluation.summary import as_json, models_of, summarise

    await ready(HELPDESK / "workflow.yaml")
    held = read_cases(HELPDESK / "examples" / "eval.jsonl")
    rows = await evaluated("workflow", random.Random(0).sample(held, min(most, len(held))))
    known = read_cases(HELPDESK / "eval" / "cases.jsonl")
    return {
        "rows": len(rows), "of": len(held), "figures": as_json(summarise(rows))["all"],
        "paths": dict(Counter(row.path for row in rows)), "models": models_of(rows),
        "unasked": as_json(summarise([row for row in rows if row.path in ("slm", "rag-slm")]))["all"]["correct"],
        "known": len(known),
        "against": {
            variant: as_json(summarise(await evaluated(variant, known)))["all"] for variant in VARIANTS
        },
    }  # fmt: skip


def pattern_table(patterns: list[dict[str, Any]]) -> results.Table:
    return results.table(
        ("pattern", "as expected", "router", "median", "slowest", "large model", "all-LLM", "what answered"),
        *(
            (
                one["pattern"], f"{one['as_expected']} of {one['requests']}",
                f"{one['router_right']} of {one['router_rows']} ({one['router_right'] / one['router_rows']:.0%})",
                f"{one['median_ms'] / 1000:.1f} s", f"{one['max_ms'] / 1000:.1f} s",
                f"${one['usd']:.5f}", f"${one['all_llm_usd']:.5f}", _counted(one["models"]) or "no model wrote",
            )
            for one in patterns
        ),
    )  # fmt: skip


def helpdesk_tables(desk: dict[str, Any]) -> list[results.Table]:
    figures = desk["figures"]
    share = results.table(
        ("held-out requests", "share"),
        ("end without a call of the large model", f"{_share(_rest(figures['escalation_rate']))}; target {TARGET:.0%}"),
        ("results that are right", _share(figures["correct"])),
        ("answers of the small model that went out unasked and are right", _share(desk["unasked"])),
        ("questions that no document answers, answered all the same", _share(figures["unknown_answered"])),
        ("requests that must be refused, answered", _share(figures["must_refuse_answered"])),
        ("requests that must be answered, refused", _share(figures["must_answer_refused"])),
        ("waiting for a person", _share(figures["approval_rate"])),
        ("paths", ", ".join(f"{path} {count}" for path, count in sorted(desk["paths"].items()))),
    )
    columns = (
        f"{desk['known']} known answers",
        "right",
        "without the large model",
        "price of 1,000",
        "median",
    )
    against = (
        (
            "the workflow" if variant == "workflow" else f"`{variant}`",
            _share(found["correct"]), _share(_rest(found["escalation_rate"])),
            f"${found['list_usd']['value'] * 1000:.2f}", f"{found['latency_p50']['value']:.1f} s",
        )
        for variant, found in desk["against"].items()
    )  # fmt: skip
    return [share, results.table(columns, *against)]


def task_table(measured: list[Any]) -> results.Table:
    return results.table(
        ("task", "right", "accuracy", "median"),
        *(
            (
                one.task, f"{one.right} of {one.rows}", f"{one.right / one.rows:.0%} [{one.low:.0%}, {one.high:.0%}]",
                f"{one.median_ms:.0f} ms",
            )
            for one in measured
        ),
    )  # fmt: skip


def _rest(figure: dict[str, Any]) -> dict[str, Any]:
    return {**figure, "value": 1 - figure["value"], "low": 1 - figure["high"], "high": 1 - figure["low"]}


def _share(figure: dict[str, Any]) -> str:
    right = round(figure["value"] * figure["n"])
    return f"{figure['value']:.0%} [{figure['low']:.0%}, {figure['high']:.0%}], {right} of {figure['n']}"


def _counted(models: dict[str, int]) -> str:
    return ", ".join(f"`{name}` {count}" for name, count in models.items())


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--helpdesk", type=int, default=260, help="its held-out requests, 260 is all; 0 leaves it out"
    )
    arguments.add_argument("--no-tasks", action="store_true", help="leave out the small tasks")
    arguments.add_argument("--json", type=Path, help="write the figures here, too")
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    from sluicegate import tasks

    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        measured = [await pattern(folder) for folder in sorted(PATTERNS.iterdir()) if folder.is_dir()]
        desk = await helpdesk(given.helpdesk) if given.helpdesk else None
        small = [] if given.no_tasks else [await tasks.measure(task) for task in tasks.TASKS]
    if given.record:
        results.record("patterns", "Patterns", PATTERNS_ABOUT, [pattern_table(measured)])
        if small:
            results.record("tasks", "Small tasks", TASKS_ABOUT, [task_table(small)])
        if desk:
            results.record("helpdesk", "The helpdesk", HELPDESK_ABOUT, helpdesk_tables(desk))
    found = {"patterns": measured, "helpdesk": desk, "tasks": [asdict(one) for one in small]}
    text = json.dumps(found, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
