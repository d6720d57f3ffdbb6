"""Routing in languages that a router was not fitted on, and short asks in English.

    python benchmarks/languages.py [--keep FOLDER] [--record]      (or `make bench-languages`)

The helpdesk's router, which reads with an English encoder, and one fitted on the same rows with the encoder for many
languages. Measured on the requests in `../shared/cases`, which were given with the task, and on those of
`tests/routing/requests_in_other_languages.jsonl` with the part `apart`, which we wrote and on which nothing was tuned.
Of each set: labels that are right, and how many are wrong although their confidence reaches the threshold, without and
with `languages: embedder`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results
from benchmarks.router import fitted
from sluicegate.cli.router.embedders import embed_like
from sluicegate.routing.config import Languages
from sluicegate.routing.intent.artifact import Artifact, read_artifact
from sluicegate.routing.intent.router import FittedRouter

HELPDESK = ROOT / "configs" / "helpdesk"
CASES = ROOT.parent / "shared" / "cases"
OWN = ROOT / "tests" / "routing" / "requests_in_other_languages.jsonl"
HARD = ("short", "long", "mixed", "typos")
"""Of our own requests, those whose language is hard to tell; others of these are romanised."""
MANY = "embedded:multilingual-e5-small+layers"

Rows = list[dict[str, str]]


def sets() -> dict[str, Rows]:
    """The rows by the name of their set; a given file that is not there is left out."""
    found: dict[str, Rows] = {}
    for stem, name in {"requests_by_language": "given, {}", "requests_short": "given, short, en"}.items():
        if not (CASES / f"{stem}.jsonl").is_file():
            print(f"{CASES / stem}.jsonl is not there: left out")
            continue
        for row in read(CASES / f"{stem}.jsonl"):
            found.setdefault(name.format(row.get("language", "")), []).append(row)
    for row in read(OWN):
        if row["part"] == "apart":
            whole = len(row["language"]) == 2
            kind = row["language"] if whole or row["language"] in HARD else "romanised"
            found.setdefault(f"ours, {kind}", []).append(row)
    return found


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def measured(artifact: Artifact, rows: Rows) -> dict[Languages, Counter[str]]:
    settings: tuple[Languages, ...] = get_args(Languages)
    routers = [FittedRouter(artifact, embed=embed_like(artifact.card["embedder"]), languages=one) for one in settings]
    counts: dict[Languages, Counter[str]] = {one: Counter() for one in settings}
    for row in rows:
        vector = await routers[0].vector(row["text"])
        for setting, router in zip(settings, routers, strict=True):
            found = router.decide(row["text"], vector)
            trusted, right = found.confidence >= found.threshold, found.label == row["label"]
            counts[setting].update(rows=1, right=right, trusted=trusted, wrong=trusted and not right)
    return counts


def cells(name: str, english: Counter[str], many: Counter[str], trusting: Counter[str]) -> list[str]:
    shown = [f"{english['right']}", f"{english['wrong']} of {english['trusted']}", f"{many['right']}"]
    return [name, f"{many['rows']}", *shown, *(f"{one['wrong']} of {one['trusted']}" for one in (many, trusting))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="folder for the fitted router, which is found there again")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    examples = HELPDESK / "examples"
    fit = (examples / "train.jsonl", "--calibration", examples / "calibration.jsonl", "--oos-label", "out_of_scope")
    fitted(folder / "many", *fit, "--embedder", MANY)
    english, many = read_artifact(HELPDESK / "routers" / "helpdesk"), read_artifact(folder / "many")
    found: dict[str, tuple[Counter[str], Counter[str], Counter[str]]] = {}
    for name, requests in sets().items():
        by_english, by_many = asyncio.run(measured(english, requests)), asyncio.run(measured(many, requests))
        found[name] = (by_english["calibrated"], by_many["calibrated"], by_many["embedder"])
        print(*cells(name, *found[name]), sep=" | ", flush=True)
    for origin in ("given", "ours"):
        codes = [name for name in found if name.startswith(origin) and len(name.split(", ")[-1]) == 2]
        total: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        for name in (each for each in codes if not each.endswith(", en")):
            for counts, each in zip(total, found[name], strict=True):
                counts.update(each)
        found[f"{origin}, every other language"] = total
        print(*cells(f"{origin}, every other language", *total), sep=" | ")
    rows = [cells(name, *each) for name, each in found.items()]
    columns = ["requests", "rows", "English encoder: right", "wrong of the trusted"]
    columns += ["multilingual-e5-small: right", "wrong of the trusted", "the same with `languages: embedder`"]
    if arguments.record:
        about = (
            "Both routers are fitted on the helpdesk's rows, English but for 4 %. Given are the requests that "
            "we had while the tests of likeness were made; ours were written by the same people and looked at "
            "afterwards only. Right counts the label, whether trusted or not; trusted is what reaches its threshold."
        )
        results.record("languages", "Routing across languages", about, [results.table(columns, *rows)])


if __name__ == "__main__":
    main()
