"""A workflow of one paid call, on a server on the loopback, and what a batch of it has written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from sluicegate.batch.run import Wanted
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.intake import principal
from tests.support.openai_server import Says

__all__ = ["ANN", "CALL", "SAYS", "letters", "rows_of", "wanted", "written"]

ANN = principal("ann", ["employee"])
SAYS = Says("Of course.", usage={"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140})
CALL = 300
"""Micro-dollars of one such answer: 100 tokens at one dollar a million and 40 at five."""

_WORKFLOW = """\
workflow: letters
version: 1
purpose: Answer letters.
models:
  slm: {use: "openai:small", base_url: "URL", price_per_mtok: {input: 1.0, output: 5.0}}
intents:
  letter: {task: short-answer, risk: low}
BUDGET
start: gate
nodes:
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: write}]}
  write: {kind: slm-answer, prompt: write, max_tokens: 60, then: check}
  check:
    kind: output-check
    guards: [length]
    then: [{when: "checks.failed", go: refuse}, {otherwise: NEXT}]
PEOPLE
  respond: {kind: respond}
  refuse: {kind: refuse}
"""
_PEOPLE = """\
  approve:
    kind: human-interrupt
    approvers: "role:clerk"
    then: [{when: "approval.verdict in ['approve', 'edit']", go: respond}, {otherwise: refuse}]
"""


def letters(folder: Path, url: str, *, budget: str = "", people: bool = False) -> Path:
    """Its file. Each row asks the model once; with `people` somebody approves every answer."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    (folder / "prompts" / "write.md").write_text("---\nid: write\nversion: 1\n---\n# user\n{{question}}\n")
    text = _WORKFLOW.replace("URL", url).replace("BUDGET", f"budget: {budget}" if budget else "")
    text = text.replace("NEXT", "approve" if people else "respond").replace("PEOPLE", _PEOPLE if people else "")
    file = folder / "workflow.yaml"
    file.write_text(text)
    return file


def rows_of(file: Path, rows: Sequence[Mapping[str, Any]] | int) -> Path:
    """JSON Lines of these rows, or of so many letters."""
    made = [{"id": f"r{n}", "text": f"Dear all, letter {n}."} for n in range(rows)] if isinstance(rows, int) else rows
    file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return file


def wanted(workflow: Path, data: Path, out: Path, **more: Any) -> Wanted:
    found = load(workflow)
    return Wanted(
        str(data), str(out), ANN, workflow=workflow, name=found.name, version=str(found.version),
        digest=found.digest, **more,
    )  # fmt: skip


def written(out: Path, folder: str = "rows") -> list[dict[str, Any]]:
    """The rows of all its files, in the order of the input."""
    found = [row for file in sorted((out / folder).glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: row["row"])
