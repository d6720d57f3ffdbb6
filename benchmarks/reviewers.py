"""The reviewers of drafts of the kind `slm-review`, beside each other; `benchmarks/guards.py review` calls it."""

import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from sluicegate.learning.artifact import read_card
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.routing.review.fit import Draft, DraftBound, drafts, fit_reviewer
from sluicegate.routing.review.reviewer import HeadReviewer

__all__ = ["ABOUT", "measured", "tables"]

ROOT = Path(__file__).resolve().parents[1]
DRAFTS = ROOT / "configs" / "patterns" / "5-two-pass-check" / "drafts"
REVIEWER = DRAFTS.parent / "reviewer"
KINDS = ("proper", "policy", "tone", "leak")
REVIEWING = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
SAMPLE = 80
LEFT_OUT = 7


def _passing(drafts: Sequence[Draft], verdicts: Sequence[bool | None]) -> dict[str, str]:
    """How many drafts of each kind a reviewer lets pass."""
    found = {kind: [ok is True for one, ok in zip(drafts, verdicts, strict=True) if one.kind == kind] for kind in KINDS}
    return {kind: f"{sum(passed)} of {len(passed)}" for kind, passed in found.items()}


def measured() -> dict[str, Any]:
    """The shipped head on drafts of sources that it was not fitted on, the small models on a sample of these, and heads
    fitted without some sources on the drafts of those."""
    from sluicegate.cli.router.embedders import LAYERED, ROLE, embed_like, embedding, only
    from sluicegate.graphs.runtime.slm_reviewer import reviewer
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig

    rows = {
        part: [json.loads(line) for line in (DRAFTS / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("train", "calibration", "eval")
    }
    held = drafts(rows["eval"])
    card = read_card(REVIEWER)
    head = HeadReviewer(REVIEWER, lambda _: embed_like(card["embedder"]))
    sample: list[Draft] = [held[at] for at in np.random.default_rng(0).permutation(len(held))[:SAMPLE]]
    every = [row for part in rows.values() for row in part]
    sources = sorted({row["source"] for row in every})
    embed, embedder = embedding(only(LAYERED), ROLE)

    async def without(some: Sequence[str], work: Path) -> dict[str, Any]:
        apart = [row for row in every if row["source"] in some]
        rest = [row for row in every if row["source"] not in some]
        target = DraftBound(0.5)  # proved on the few left out; their AUROC is what is asked here
        given = (drafts(rest), drafts(apart), target)
        return await fit_reviewer(*given, embed=embed, embedder=embedder, data={}, work=work, out=work / "head")

    async def asked(model: str) -> dict[str, str]:
        judge = reviewer(ModelSet({"slm": ModelConfig(use=f"embedded:{model}", timeout_s=600)}))
        return _passing(sample, [await judge(draft.request, draft.text) for draft in sample])

    async def every_one() -> dict[str, Any]:
        chance = [await head.proper(draft.text) for draft in held]
        truth = np.array([draft.proper for draft in held])
        with tempfile.TemporaryDirectory() as work:
            cards = [await without(sources[at::LEFT_OUT], Path(work) / str(at)) for at in range(LEFT_OUT)]
        return {
            "rows": {part: len(part_rows) for part, part_rows in rows.items()},
            "sources": len(sources),
            "auroc": auroc(np.array(chance), truth),
            "bound": card["threshold"]["bound"],
            "head": _passing(held, [one > head.threshold for one in chance]),
            "sample": {
                "the fitted head": _passing(sample, [await head(draft.request, draft.text) for draft in sample]),
                **{model: await asked(model) for model in REVIEWING},
            },
            "left_out": {
                "head": [one["metrics"]["auroc"] for one in cards],
                **{name: [one["baselines"][name] for one in cards] for name in card["baselines"]},
            },
        }

    return asyncio.run(every_one())


ABOUT = """
Drafts of 22 desks (a clinic, a bank, a shop, …) in the voices of their writers: for each of ten requests two proper
drafts, and two with one sentence of the same length changed so that it breaks policy, tone or confidence. They were
written for this by one author, and half are improper, as no workflow's drafts are; refit on people's verdicts. The
shipped head was fitted on 12 desks and its threshold proved on six others; the first table is on the four that remain.
The small models are asked as `engine: generate` asks them, on a sample of these. In the last table the head and models
that see something shallow of a draft are fitted without a seventh of the desks, and measured on those: mean, and range.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
    def row(what: str, passed: dict[str, str]) -> tuple[str, ...]:
        return what, *(passed[kind] for kind in KINDS)

    def span(values: Sequence[float]) -> tuple[str, str]:
        return f"{statistics.mean(values):.3f}", f"{min(values):.3f} to {max(values):.3f}"

    return [
        results.table(
            ("passed, of four desks' drafts", *KINDS, "AUROC", "bound on improper ones"),
            (*row("the fitted head", found["head"]), f"{found['auroc']:.3f}", f"{found['bound']:.1%}"),
        ),
        results.table(
            ("passed, of a sample", *KINDS), *(row(name, passed) for name, passed in found["sample"].items())
        ),
        results.table(
            ("desks left out", "AUROC", "range"), *((name, *span(values)) for name, values in found["left_out"].items())
        ),
    ]
