"""`make bench-quoting`: whether an answer in the sources' words quotes what to do, and the fact that was asked for.

The passages and questions of `tests/nodes/writing/remedies.jsonl`. Of each question the six nearest documents of its
language are the sources; counted is what is quoted whatever a model picks besides, so that none is asked.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.nodes.writing.quoting import cosines, shortlist
from sluicegate.services import EmbeddingRequest

ROWS = ROOT / "tests" / "nodes" / "writing" / "remedies.jsonl"
SOURCES = 6
EMBEDDERS = {"embedded:all-minilm-l6-v2": ("en",), "embedded:multilingual-e5-small": ("en", "de", "fr", "es", "nl")}
QUOTES = 3
ABOUT = f"""
Passages of ten domains in five languages, each with questions that report a trouble, for which it says what to do, and
with questions for one of its facts, all by one author. The domains of the part *tune* chose the examples by which an
embedder reads a question and a sentence, those of *held* chose nothing. An answer quotes {QUOTES} sentences of the six
nearest documents. Counted are the answers that have what was asked for, by the nearest sentences alone and with the
instruction that goes with the best one in the last place.
"""


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]


async def measured(embedder: str, languages: Sequence[str], part: str) -> Counter[str]:
    """By kind of question, `trouble` or `fact`: how many were asked, and right without and with the instruction."""
    from tests.support.answering import document, state
    from tests.support.fakes import services

    given = services(models=ModelSet({"embedder": ModelConfig(use=embedder, timeout_s=600)}))  # type: ignore[arg-type]
    every, counts = read(), Counter[str]()
    for row in every:
        if row["part"] != part or row["language"] not in languages:
            continue
        others = [other for other in every if other["language"] == row["language"]]
        texts = [other["text"] for other in others]
        for ask in row["asks"]:
            request = EmbeddingRequest("embedder", [ask["question"], *texts])
            question, *vectors = (await given.models.embed(request)).vectors
            near = cosines(question, vectors)
            best = sorted(range(len(others)), key=lambda at: -near[at])[:SOURCES]
            documents = [{**document(at), "title": others[at]["title"], "score": near[at]} for at in best]
            kind = "fact" if ask["kind"] == "fact" else "trouble"
            counts[kind] += 1
            for name, quotes in (("nearest", 0), ("instructed", QUOTES)):
                found = await shortlist(
                    state(given, documents=documents), given, ask["question"], [texts[at] for at in best], quotes=quotes
                )
                quoted = [one.text for one in found.candidates[: found.always or QUOTES]]
                counts[f"{kind} {name}"] += any(ask["says"] in text for text in quoted)
    return counts


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    lines: list[tuple[str, ...]] = []
    for embedder, languages in EMBEDDERS.items():
        for part in ("tune", "held"):
            found = await measured(embedder, languages, part)
            for kind in ("trouble", "fact"):
                shares = (f"{found[f'{kind} {name}']} of {found[kind]}" for name in ("nearest", "instructed"))
                lines.append((embedder.removeprefix("embedded:"), ", ".join(languages), part, kind, *shares))
                print(*lines[-1], sep=" | ", flush=True)
    if given.record:
        columns = ("embedder", "languages", "part", "asked for", "nearest sentences", "with the instruction")
        results.record("quoting", "Quoting what to do", ABOUT, [results.table(columns, *lines)])


if __name__ == "__main__":
    asyncio.run(main())
