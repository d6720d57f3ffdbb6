"""How much later a checked sentence comes than an unchecked one would.

    python benchmarks/streaming.py [--record]

Pattern 1's requests for a summary, written freely by the embedded model, with the guards that its check has. Both times
are of one run, from the call of the model: when the first sentence was complete as it came from the model, and when it
was sent, having passed the guards. The model goes on writing meanwhile, so on a busy machine both are later.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results

PATTERN = ROOT / "configs" / "patterns" / "1-slm-router-tools"
GOAL = 1.3
ABOUT = """
From the call of the model (SmolLM2-135M, one thread) to its first whole sentence, and until that had passed the guards
of the check and was sent; medians and the largest ratio over requests for a summary whose answers have two sentences or
more.
"""


async def measured(requests: list[str]) -> list[tuple[float, float]]:
    """For each answer of several sentences: seconds to the first whole one, and until it was sent."""
    from sluicegate import open_workflow, principal
    from sluicegate.graphs.runtime.steps.streaming import sending
    from sluicegate.segmentation import segments
    from sluicegate.services import Completion, ModelRequest, ModelStep

    started = complete = sent = 0.0

    class Watched(ModelStep):
        async def chat(self, request: ModelRequest) -> Completion:
            nonlocal started, complete
            started, complete, text = time.perf_counter(), 0.0, ""

            def seen(piece: str) -> None:
                nonlocal complete, text
                text += piece
                if not complete and len(segments(text)) > 1:
                    complete = time.perf_counter()
                if request.on_token:
                    request.on_token(piece)

            return await super().chat(replace(request, on_token=seen if request.on_token else None))

    def on_text(_piece: str) -> None:
        nonlocal sent
        sent = sent or time.perf_counter()

    opened = open_workflow(
        PATTERN / "workflow.yaml", change=lambda services: replace(services, models=Watched(services.models))
    )
    found: list[tuple[float, float]] = []
    for text in requests:
        sent = 0.0
        with sending(on_text):
            await opened.runner.run(text, principal("ann", ["employee"]))
        if sent:
            found.append((complete - started, sent - started))
    opened.close()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    rows = [
        json.loads(line)
        for name in ("calibration", "eval")
        for line in (PATTERN / "examples" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    requests = [row["text"] for row in rows if (row.get("label") or row.get("intent")) == "summarise"][:40]
    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        found = asyncio.run(measured(requests))
    ratios = sorted(checked / unchecked for unchecked, checked in found)
    row = {
        "answers": len(found),
        "first sentence (s)": f"{statistics.median(unchecked for unchecked, _ in found):.2f}",
        "checked (s)": f"{statistics.median(checked for _, checked in found):.2f}",
        "ratio": f"{statistics.median(ratios):.3f}",
        "largest ratio": f"{ratios[-1]:.3f}",
        "goal": f"{GOAL}",
    }
    print(json.dumps(row, indent=1))
    if given.record:
        results.record(
            "streaming", "The first checked sentence", ABOUT, [results.table(tuple(row), tuple(row.values()))]
        )


if __name__ == "__main__":
    main()
