"""`make bench-patterns`: each pattern on its example set, and how much of the helpdesk ends without the large model.

Runs the patterns' requests for real, in a home of their own, and compares them with what their rows expect. The
router's accuracy is that on the pattern's held-out rows. Money is at the list price in PRICE whatever answered:
``all-LLM`` is what one call of the large model would have cost for the same tokens. The helpdesk is evaluated as
`sluicegate eval` does it, on its held-out requests, and on those with known answers against ``all-slm`` and
``all-llm``. `--write docs/patterns.md` puts the tables between its markers.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PATTERNS = ROOT / "configs" / "patterns"
HELPDESK = ROOT / "configs" / "helpdesk"
PRICE = {"input": 0.25, "output": 2.00}
"""US dollars per million tokens of the large model in the examples' configs."""
TARGET = 0.85
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


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
    for name, index in opened.workflow.config.indexes.items():
        folders = opened.workflow.folders
        await ingest(indexes_of(opened.workflow.name) / name, [], index, opened.models, folders=folders)
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
        "known": len(known),
        "against": {
            variant: as_json(summarise(await evaluated(variant, known)))["all"] for variant in VARIANTS
        },
    }  # fmt: skip


def tables(patterns: list[dict[str, Any]], desk: dict[str, Any] | None) -> str:
    """Markdown."""
    lines = [
        "| pattern | as expected | router, held-out rows | median | slowest | large model | all-LLM | what answered |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in patterns:
        share = f"{one['router_right']} of {one['router_rows']} ({one['router_right'] / one['router_rows']:.0%})"
        answered = _counted(one["models"]) or "no model wrote"
        lines.append(
            f"| {one['pattern']} | {one['as_expected']} of {one['requests']} | {share} "
            f"| {one['median_ms'] / 1000:.1f} s | {one['max_ms'] / 1000:.1f} s "
            f"| ${one['usd']:.5f} | ${one['all_llm_usd']:.5f} | {answered} |"
        )
    if desk:
        figures = desk["figures"]
        asked = figures["escalation_rate"]
        kept = "reached" if 1 - asked["value"] >= TARGET else "missed"
        paths = ", ".join(f"{path} {count}" for path, count in sorted(desk["paths"].items()))
        low, high = 1 - asked["high"], 1 - asked["low"]
        said = (
            f"Helpdesk, {desk['rows']} of its {desk['of']} held-out requests: "
            f"**{1 - asked['value']:.0%} end without the large model** ({low:.0%} to {high:.0%}; target {TARGET:.0%}, "
            f"{kept}). {_share(figures['correct'])} of the results are right, {_share(figures['approval_rate'])} wait "
            f"for a person. Paths: {paths}. What wrote: {_counted(desk['models'])}."
        )
        known = (
            f"Its {desk['known']} requests with known answers, and the same with every call to one of its two models:"
        )
        columns = "| | right | without the large model | list price of 1,000 requests | median |"
        lines += ["", said, "", known, "", columns, "| --- | --- | --- | --- | --- |"]
        for variant, found in desk["against"].items():
            name = "the workflow" if variant == "workflow" else f"`{variant}`"
            rate = found["escalation_rate"]
            without = {"value": 1 - rate["value"], "low": 1 - rate["high"], "high": 1 - rate["low"]}
            lines.append(
                f"| {name} | {_share(found['correct'])} | {_share(without)} "
                f"| ${found['list_usd']['value'] * 1000:.2f} | {found['latency_p50']['value']:.1f} s |"
            )
    return "\n".join(lines)


def _share(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.0%} ({figure['low']:.0%} to {figure['high']:.0%})"


def _counted(models: dict[str, int]) -> str:
    return ", ".join(f"`{name}` {count}" for name, count in models.items())


def write(page: Path, text: str) -> None:
    old = page.read_text(encoding="utf-8")
    before, rest = old.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--helpdesk", type=int, default=260, help="its held-out requests, 260 is all; 0 leaves it out"
    )
    arguments.add_argument("--json", type=Path, help="write the figures here, too")
    arguments.add_argument("--write", type=Path, help="put the tables between the markers of this page")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        measured = [await pattern(folder) for folder in sorted(PATTERNS.iterdir()) if folder.is_dir()]
        print(tables(measured, None), flush=True)
        desk = await helpdesk(given.helpdesk) if given.helpdesk else None
    text = tables(measured, desk)
    print(text)
    if given.json:
        given.json.write_text(json.dumps({"patterns": measured, "helpdesk": desk}, indent=2) + "\n", encoding="utf-8")
    if given.write:
        write(given.write, text)


if __name__ == "__main__":
    asyncio.run(main())
