"""The intent of follow-ups as the helpdesk condenses them, beside that of the questions that people wrote for them.

    python benchmarks/followups.py [--split fit] [--fit] [--record]

The rows of `configs/helpdesk/eval/followups.jsonl` have the turns before, the follow-up, the question that stands alone
and its intent. Each is run through `condense` and the router, turn by turn. `--fit` prints the constants that the split
`fit` gives, which `nodes/kinds/condense.py` has; nothing was fitted on `test`, whose conversations are others.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.condense import CONDENSE, joined, signs
from sluicegate.services import Services
from sluicegate.state import State, Turn, question

HELPDESK = ROOT / "configs" / "helpdesk"
FOLLOWUPS = HELPDESK / "eval" / "followups.jsonl"
KINDS = {
    "pronoun": "a pronoun for what was said before",
    "ellipsis": "part of a sentence",
    "correction": "takes something back",
    "language": "in another language",
    "same": "another question of the same intent",
    "topic": "another question of another intent",
    "thanks": "no question",
}


def read(split: str) -> list[dict[str, Any]]:
    rows = (json.loads(line) for line in FOLLOWUPS.read_text("utf-8").splitlines())
    return [row for row in rows if row["split"] == split]


async def turns_of(texts: list[str], opening: Any, services: Services) -> list[Turn]:
    """The turns of a conversation, each condensed after those before it."""
    node = CONDENSE.make("condense", None)
    turns: list[Turn] = []
    for number, text in enumerate(texts, start=1):
        state: State = {**opening(text), "conversation": {"turn": number, "turns": [*turns]}}
        state = cast("State", {**state, **await node(state, services)})
        whole = question(state)
        turns.append({"number": number, "run": "", "question": text, "standalone": whole, "redacted": False})
    return turns


async def measured(split: str) -> dict[str, Counter[str]]:
    opened = open_workflow(HELPDESK / "workflow.yaml")
    services, ann = opened.runner.services, principal("ann", ["employee"])
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for row in read(split):
        turns = await turns_of([*row["turns"], row["text"]], lambda text: opened.runner.opening(text, ann), services)
        whole = turns[-1]["standalone"]
        labels = [(await services.router.classify(text)).label for text in (row["text"], whole, row["standalone"])]
        alone, made, written = (label == row["intent"] for label in labels)
        rightly = (whole == row["text"]) == (row["standalone"] == row["text"])
        counts[row["kind"]].update(rows=1, alone=alone, condensed=made, written=written, rightly=rightly)
    return counts


async def fitted() -> tuple[list[float], float]:
    """Weights and offset by which what the router makes of a text tells whether it stands alone (Platt's fit)."""
    from sklearn.linear_model import LogisticRegression

    opened = open_workflow(HELPDESK / "workflow.yaml")
    services, ann = opened.runner.services, principal("ann", ["employee"])
    values, alone = list[tuple[float, ...]](), list[bool]()
    for row in read("fit"):
        turns = await turns_of(row["turns"], lambda text: opened.runner.opening(text, ann), services)
        texts = row["text"], joined(turns, row["text"])[0]
        values.append(signs(*[await services.router.classify(text) for text in texts]))
        alone.append(row["standalone"] == row["text"])
    model: Any = LogisticRegression().fit(values, alone)
    return [*map(float, model.coef_[0])], float(model.intercept_[0])


def cells(name: str, found: Counter[str]) -> list[str]:
    return [name, *(f"{found[each]}" for each in ("rows", "alone", "condensed", "written", "rightly"))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", choices=["fit", "test"], default="test")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    if arguments.fit:
        weights, offset = asyncio.run(fitted())
        print("weights", ", ".join(f"{weight:.2f}" for weight in weights), "offset", f"{offset:.2f}")
        return
    found = asyncio.run(measured(arguments.split))
    whole: Counter[str] = Counter()
    for each in found.values():
        whole.update(each)
    rows = [*(cells(KINDS[kind], each) for kind, each in found.items() if each), cells("all", whole)]
    for row in rows:
        print(*row, sep=" | ")
    if arguments.record:
        about = (
            "Turns of conversations with the helpdesk, written for this and split by conversation; the constants of "
            "`condense` are fitted on 176 turns of others. The intent is right for the turn's words alone, for the "
            "question that `condense` passes on, and for the one that a person wrote; joined rightly where the "
            "person's question also needed the turns before, and left alone where it did not."
        )
        columns = ["turn", "rows", "right alone", "right condensed", "right as written by a person", "joined rightly"]
        results.record("followups", "Follow-ups of a conversation", about, [results.table(columns, *rows)])


if __name__ == "__main__":
    main()
