"""`make bench-hybrid`: what routing between a small and a large model saves and costs, on real models.

The helpdesk's requests with known answers and every pattern's example requests are run by the workflow, by the small
model alone (``all-slm``) and by the large one alone (``all-llm``), all embedded. The requests are taken in one fixed
random order, so the first N are a sample. Every call is kept in a file as soon as it is answered, by the model's hash
and by all that was asked: an interrupted run, or one after a change of the workflow, generates only what is new.
"""

import argparse
import asyncio
import functools
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results
from benchmarks.patterns import HELPDESK, PATTERNS, PRICE
from sluicegate.evals.evaluation.baselines import VARIANTS, Variant, baselines_of, changed, isolated
from sluicegate.services import Completion, Message, ModelRequest, Models, ModelStep, Services, TokenLogprob

NAMES = {"135M": "smollm2-135m", "0.5B": "qwen2.5-coder-0.5b", "1.5B": "qwen2.5-coder-1.5b"}
FIGURE = ROOT / "docs" / "hybrid.svg"
GOAL = 0.85
"""Share of requests that shall end without the large model."""
ABOUT = """
The helpdesk's requests with known answers (`configs/helpdesk/eval/cases.jsonl`, in one fixed random order) and the
patterns' example requests. *Right* is all that a row expects, a draft that waits for a person included. *Seconds* are
processor seconds of the models a request on one thread, *tokens* those of all calls a request, *price* what the large
model's calls would cost at $0.25 and $2.00 a million tokens. The models are Q4 files: SmolLM2-135M, Qwen2.5-Coder 0.5B
and 1.5B; a way of running that is missing was not run.
Other work ran beside them: in an earlier run on a quiet machine the seconds were about half.
"""


@dataclass(slots=True)
class Used:
    """What the calls of one request took."""

    seconds: float = 0.0
    tokens: int = 0
    usd: float = 0.0
    large: int = 0


_USED: ContextVar[Used] = ContextVar("used")


@dataclass(slots=True)
class Calls:
    """Every answer of a model, in a file of JSON lines."""

    path: Path
    known: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            if line.endswith("}"):  # the last one may be cut off
                row = json.loads(line)
                self.known[row["key"]] = row

    def keep(self, row: dict[str, Any]) -> None:
        self.known[row["key"]] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def key_of(digest: str, request: ModelRequest) -> str:
    asked = [
        digest, [[message.role, message.content] for message in request.messages], request.max_tokens,
        request.temperature, request.schema, list(request.stop), request.logprobs, request.seed,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Remembering(ModelStep):
    """`services.Models` whose chat calls are answered from what is kept."""

    def __init__(self, models: Models, calls: Calls, digests: dict[str, str]) -> None:
        super().__init__(models)
        self._calls, self._digests, self._warm = calls, digests, set[str]()

    async def chat(self, request: ModelRequest) -> Completion:
        key = key_of(self._digests[request.role], request)
        if key not in self._calls.known:
            if request.role not in self._warm:  # loading is no part of a call
                await self._models.chat(ModelRequest(request.role, [Message("user", "Hello")], max_tokens=1))
                self._warm.add(request.role)
            started = time.process_time()
            made = await self._models.chat(request)
            self._calls.keep({"key": key, "seconds": time.process_time() - started, "completion": asdict(made)})
        row = self._calls.known[key]
        values = {name: value for name, value in row["completion"].items() if name != "logprobs"}
        logprobs = tuple(
            TokenLogprob(each["token"], each["logprob"], tuple(map(tuple, each["alternatives"])))
            for each in row["completion"]["logprobs"]
        )
        completion = Completion(**values, logprobs=logprobs)
        used = _USED.get()
        used.seconds += row["seconds"]
        used.tokens += completion.prompt_tokens + completion.completion_tokens
        if request.role == "llm":
            used.large += 1
            prompt, written = completion.prompt_tokens, completion.completion_tokens
            used.usd += (prompt * PRICE["input"] + written * PRICE["output"]) / 1e6
        return replace(completion, model=self.describe(request.role), fallback="")


@dataclass(frozen=True, slots=True)
class Scored:
    """One request under one variant."""

    right: float | None
    confidence: float | None
    alone: float
    """Whether no person was asked."""
    used: Used


def _remembering(services: Services, *, variant: Variant, calls: Calls, digests: dict[str, str]) -> Services:
    return changed(replace(services, models=Remembering(services.models, calls, digests)), variant)


async def measured(
    source: Path, cases: Sequence[Any], pair: tuple[str, str], variants: Sequence[str], calls: Calls
) -> dict[str, list[Scored]]:
    """The cases under those of the variants that a workflow has, whose roles have the models of `pair`."""
    from sluicegate.evals.evaluation.evaluate import evaluate
    from sluicegate.graphs.config.load import load
    from sluicegate.models.embedded.weights import WEIGHTS
    from sluicegate.retrieval.files import indexes_of
    from sluicegate.retrieval.ingest import ingest

    roles = dict(zip(("slm", "llm"), pair, strict=True))
    roles = {role: name for role, name in roles.items() if role in load(source).config.models}
    digests = {role: WEIGHTS[name].digest for role, name in roles.items()}
    lines = [
        f'  {role}: {{use: "embedded:{name}", otherwise: [], timeout_s: 3600, load_timeout_s: 3600}}'
        for role, name in roles.items()
    ]
    lines.append('  embedder: {use: "embedded:all-minilm-l6-v2", otherwise: [], timeout_s: 600}')
    found: dict[str, list[Scored]] = {}
    with tempfile.TemporaryDirectory(dir=os.environ["SLUICEGATE_HOME"]) as folder:
        overlay = Path(folder) / "workflow.yaml"
        overlay.write_text(f'extends: "{source}"\nmodels:\n' + "\n".join(lines) + "\n")
        workflow = load(overlay)
        own = ("workflow", *baselines_of(workflow))
        wanted: list[Variant] = [one for one in VARIANTS if one in own and one in variants]
        for variant in wanted:
            change = functools.partial(_remembering, variant=variant, calls=calls, digests=digests)
            opened = isolated(workflow, Path(folder) / variant, change)
            for name, index in workflow.config.indexes.items():
                place = indexes_of(workflow.name) / name
                await ingest(place, [], index, opened.models, folders=workflow.folders)
            rows: list[Scored] = []
            for at, case in enumerate(cases, start=1):
                used = Used()
                _USED.set(used)
                (row,) = await evaluate(opened.runner, [case], under=variant)
                rows.append(
                    Scored(
                        row.metrics.get("correct"),
                        row.metrics.get("confidence"),
                        row.metrics.get("without_human", 0.0),
                        used,
                    )
                )
                print(f"\r{source.parent.name} {variant} {at}/{len(cases)}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            found[variant] = rows
    return found


def escalated(rows: dict[str, list[Scored]]) -> list[tuple[float, float]]:
    """The cost-quality curve: share of requests given to the large model, the least certain first; share right.

    A request without a confidence (a tool, a refusal) goes last.
    """
    pairs = [
        (small.confidence if small.confidence is not None else 2.0, small.right, large.right)
        for small, large in zip(rows["all-slm"], rows["all-llm"], strict=True)
        if small.right is not None and large.right is not None
    ]
    pairs.sort(key=lambda one: one[0])
    right = sum(small for _, small, _ in pairs)
    curve = [(0.0, right / len(pairs))]
    for at, (_, small, large) in enumerate(pairs, start=1):
        right += large - small
        curve.append((at / len(pairs), right / len(pairs)))
    return curve


def summary(rows: Sequence[Scored]) -> dict[str, Any]:
    from sluicegate.models.probes.probe import interval

    graded = [row.right for row in rows if row.right is not None]
    right, without = int(sum(graded)), sum(not row.used.large for row in rows)
    return {
        "right": right, "graded": len(graded), "interval": interval(right, len(graded)),
        "without": without, "rows": len(rows), "alone": int(sum(row.alone for row in rows)),
        "tokens": sum(row.used.tokens for row in rows) / len(rows),
        "seconds": sum(row.used.seconds for row in rows) / len(rows),
        "usd_1000": 1000 * sum(row.used.usd for row in rows) / len(rows),
    }  # fmt: skip


def cells(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    low, high = one["interval"]
    return (
        name,
        f"{one['right'] / one['graded']:.0%} [{low:.0%}, {high:.0%}], {one['right']} of {one['graded']}",
        f"{one['without'] / one['rows']:.0%}, {one['without']} of {one['rows']}",
        f"{one['alone'] / one['rows']:.0%}",
        f"{one['tokens']:.0f}",
        f"{one['seconds']:.1f} s",
        f"${one['usd_1000']:.2f}",
    )


def tables(found: dict[str, dict[str, dict[str, Any]]]) -> list[results.Table]:
    """One for each pair of models: the helpdesk, then all patterns together."""
    columns = ("right", "without the large model", "without a person", "tokens", "seconds", "price of 1,000")
    return [
        results.table((f"{title}: {where}", *columns), *(cells(f"`{name}`", one) for name, one in of.items()))
        for title, places in found.items()
        for where, of in places.items()
        if of
    ]


def picture(curves: dict[str, list[tuple[float, float]]], points: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The helpdesk's curves with the three ways of running as points, as SVG."""
    width, height, left, top, inner_w, inner_h = 680, 400, 60, 30, 590, 300
    lowest = min(y for curve in curves.values() for _, y in curve)
    floor = max(0.0, int(lowest * 10) / 10 - 0.1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * inner_w, top + (1 - (y - floor) / (1 - floor)) * inner_h

    view = f'viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} font-family="sans-serif" font-size="13">',
        "<title>The helpdesk: share right by the share of requests given to the large model</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for tenth in range(round(floor * 10), 11):
        x, y = at(0, tenth / 10)
        parts.append(f'<path d="M{x:.0f} {y:.1f}h{inner_w}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    for share in range(0, 101, 20):
        x, y = at(share / 100, floor)
        parts.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{share} %</text>')
    parts.append(
        f'<text x="{left + inner_w / 2}" y="{height - 30}" text-anchor="middle">given to the large model</text>'
    )
    parts.append(f'<text x="{left}" y="18">right</text>')
    for number, (title, curve) in enumerate(curves.items()):
        colour = ("#0b6e4f", "#b3541e", "#3b4fa0")[number % 3]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in curve))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for name, one in points[title].items():
            x, y = at(1 - one["without"] / one["rows"], one["right"] / one["graded"])
            if name == "workflow":
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>')
                continue
            box = f'x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"'
            parts.append(f'<rect {box} fill="#fff" stroke="{colour}"/>')
        place = height - 10
        x = left + number * 260
        parts.append(f'<path d="M{x} {place - 4}h24" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 30}" y="{place}">{title} (● workflow, □ one model)</text>')
    return "\n".join([*parts, "</svg>", ""])


async def main() -> None:
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.home import cache_dir
    from sluicegate.models.embedded.weights import located

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--pair",
        action="append",
        help="SMALL/LARGE of 135M, 0.5B, 1.5B, and VARIANTS after a colon; by default two pairs, all variants",
    )
    arguments.add_argument("--limit", type=int, default=0, help="the helpdesk's first N requests of the order; 0: all")
    arguments.add_argument("--no-patterns", action="store_true", help="the helpdesk only")
    arguments.add_argument("--calls", type=Path, default=cache_dir() / "hybrid.jsonl", help="where answers are kept")
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md, with the picture")
    given = arguments.parse_args()
    calls = Calls(given.calls)
    cases = read_cases(HELPDESK / "eval" / "cases.jsonl")
    random.Random(0).shuffle(cases)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for wanted in given.pair or ["0.5B/1.5B", "135M/0.5B"]:
        title, _, listed = wanted.partition(":")
        small, large = (NAMES[size] for size in title.split("/"))
        variants = listed.split(",") if listed else VARIANTS
        for name in (small, large):
            located(name)  # raises: without its weights the chain's next model would answer
        with tempfile.TemporaryDirectory() as home:
            os.environ["SLUICEGATE_HOME"] = home
            some = cases[: given.limit or None]
            rows = await measured(HELPDESK / "workflow.yaml", some, (small, large), variants, calls)
            if rows.keys() >= {"all-slm", "all-llm"}:
                curves[title] = escalated(rows)
            found[title] = {"helpdesk": {name: summary(one) for name, one in rows.items()}}
            if given.no_patterns:
                continue
            together: dict[str, list[Scored]] = {}
            for folder in sorted(path for path in PATTERNS.iterdir() if path.is_dir()):
                requests = read_cases(folder / "examples" / "requests.jsonl")
                rows = await measured(folder / "workflow.yaml", requests, (small, large), variants, calls)
                for name, one in rows.items():
                    together.setdefault(name, []).extend(one)
            found[title]["patterns"] = {name: summary(one) for name, one in together.items()}
    print(json.dumps({"found": found, "curves": curves}, indent=1))
    if given.record:
        results.record("hybrid", "Small and large, on real models", ABOUT, tables(found))
        FIGURE.write_text(picture(curves, {title: of["helpdesk"] for title, of in found.items()}), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
