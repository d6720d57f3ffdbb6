"""`make bench-labels`: how sure label decoding says it is, and how often it is right.

    python benchmarks/labels.py MODEL [MODEL ...] [--rows 48] [--keep FOLDER] [--record]

A model's probe (`sluicegate models probe --task label`) calibrates its letters on requests of eight invented domains.
Measured is on other sources, none of which calibrates anything: CLINC150, Banking77 and IT tickets (development parts
beside the repository, `../shared/data`) with labels drawn at random, 4 to 15 at a time, and the helpdesk's held-out
requests with its 16. "As said" is the same model with its prior divided out and believed as it stands. One call a
request; `--keep` writes each answer as it comes, so that a broken-off run goes on.
"""

import argparse
import asyncio
import gzip
import json
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.learning.letters import fitted, scaled
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.probes.probe import interval
from sluicegate.routing.intent.slm import LabelDecoder
from sluicegate.services import LabelScale

DATA = ROOT.parent / "shared" / "data"
PROBE = ROOT / "src" / "sluicegate" / "models" / "probes" / "letters.jsonl"
SOURCES = (
    ("CLINC150", "clinc150/val.jsonl.gz", (4, 8, 15)),
    ("Banking77", "banking77/train.jsonl.gz", (6, 12)),
    ("IT tickets", "it_tickets/tune.jsonl.gz", (8,)),
)
AS_SAID = LabelScale(1.0, 1.0)
BINS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.01)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def questions(rows: int) -> Iterator[tuple[str, str, list[str], str]]:
    """Source, text, labels, the right one; the probe's first."""
    for row in lines(PROBE.read_text("utf-8")):
        yield "probe", row["text"], row["labels"], row["label"]
    dice = random.Random(7)
    for source, file, sizes in SOURCES:
        data = lines(gzip.decompress((DATA / file).read_bytes()).decode())
        known = sorted({row["label"] for row in data})
        for size in sizes:
            groups = [dice.sample(known, size) for _ in range(3 if size < len(known) else 1)]
            for number in range(rows // len(sizes)):
                labels = groups[number % len(groups)]
                row = dice.choice([row for row in data if row["label"] in labels])
                yield source, row["text"][:400], labels, row["label"]
    helpdesk = lines((ROOT / "configs" / "helpdesk" / "examples" / "eval.jsonl").read_text("utf-8"))
    labels = sorted({row["label"] for row in helpdesk})
    for row in dice.sample(helpdesk, min(rows, len(helpdesk))):
        yield "helpdesk", row["text"][:400], labels, row["label"]


class Watched(LabelDecoder):
    """Label decoding that also gives what the model said before it is scaled."""

    async def told(self, text: str, labels: Sequence[str]) -> tuple[list[float], list[float]]:
        return await self._asked(text, labels), await self.prior(tuple(labels))


async def asked(model: str, rows: int, keep: Path | None) -> list[dict[str, Any]]:
    done = lines(keep.read_text("utf-8")) if keep and keep.exists() else []  # noqa: ASYNC240 - one task
    decoder = Watched(ModelSet({"slm": ModelConfig(use=model, timeout_s=900, load_timeout_s=900)}), "slm")
    for source, text, labels, label in list(questions(rows))[len(done) :]:
        said, prior = await decoder.told(text, labels)
        done.append({"source": source, "said": said, "prior": prior, "at": labels.index(label)})
        if keep:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
    return done


def binned(rows: Sequence[dict[str, Any]], scale: LabelScale) -> list[list[tuple[float, bool]]]:
    """The first label's probability and whether it is right, by its probability."""
    found: list[list[tuple[float, bool]]] = [[] for _ in BINS[1:]]
    for row in rows:
        scores = scaled(row["said"], row["prior"], scale)
        best = max(range(len(scores)), key=lambda place: scores[place])
        at = next(number for number, end in enumerate(BINS[1:]) if scores[best] < end)
        found[at].append((scores[best], best == row["at"]))
    return found


def measured(model: str, rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    probe = [(row["said"], row["prior"], row["at"]) for row in rows if row["source"] == "probe"]
    held = [row for row in rows if row["source"] != "probe"]
    scale = fitted(probe)
    made: list[list[str]] = []
    for how, one in (("as said", AS_SAID), (f"calibrated ({scale.said:g}, {scale.prior:g})", scale)):
        bins = binned(held, one)
        every = [pair for pairs in bins for pair in pairs]
        gap = sum(abs(sum(sure - right for sure, right in pairs)) for pairs in bins) / len(every)
        ranges = [f"{low:g} to {min(high, 1):g}" for low, high in pairwise(BINS)]
        for where, pairs in [*zip(ranges, bins, strict=True), ("all", every)]:
            if pairs:
                right = sum(right for _, right in pairs)
                low, high = interval(right, len(pairs))
                share = f"{right / len(pairs):.2f} [{low:.2f}, {high:.2f}]"
                claimed = f"{sum(sure for sure, _ in pairs) / len(pairs):.2f}"
                ece = f"{gap:.3f}" if where == "all" else ""
                made.append([model, how, where, str(len(pairs)), claimed, share, ece])
    return made


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="+")
    options.add_argument("--rows", type=int, default=48, help="Of each source.")
    options.add_argument("--keep", type=Path, help="Keep answers here, and go on from those that are there.")
    options.add_argument("--record", action="store_true")
    chosen = options.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: the development data are needed")
    found: list[list[str]] = []
    for model in chosen.models:
        name = Path(model.partition(":")[2]).stem if model.endswith(".gguf") else model
        keep = chosen.keep / f"labels-{name.replace(':', '-')}.jsonl" if chosen.keep else None
        found += measured(name, asyncio.run(asked(model, chosen.rows, keep)))
    table = results.table(("model", "letters", "says", "requests", "mean says", "right", "ECE"), *found)
    if chosen.record:
        section = SMALLEST if "embedded:smollm2-135m" in chosen.models else LARGER
        results.record(*section, [table])
    for row in (table["columns"], *table["rows"]):
        print("".join(f"{cell:>26}" for cell in row))


SMALLEST = (
    "labels",
    "Label decoding",
    """
How sure label decoding says it is of its first label, and how often that is right. Each model is calibrated by its own
probe on 71 requests of eight invented domains; measured is on CLINC150, Banking77 and IT tickets with 4 to 15 labels
drawn at random, and on the helpdesk's held-out requests with its 16, of which none calibrates anything. "As said" is
the model with its prior divided out, believed as it stands.
""",
)
LARGER = (
    "labels_larger",
    "Label decoding by a larger model",
    """
The same requests, calibrated and measured in the same way. Where a range has no row, the model never said so much.
""",
)


if __name__ == "__main__":
    main()
