"""`make bench-router`: fit routers on public data and measure them, beside the figures they should reach.

    python benchmarks/router.py [--only tickets clinc banking escalation nested speed] [--keep FOLDER]
    [--embedder MODEL] [--json] [--record]

Reads the development parts beside the repository (`../shared/data`). Each row is two commands that anybody can run,
`sluicegate router fit` and `sluicegate router report`, on parts that the fit did not see: the tuning part of the
tickets, the validation part of CLINC150 (its rows calibrate the router, none trains it), a fifth of Banking77, the
development part of MMLU. Their test parts are not here. Fits run on one thread; on a busy machine they take minutes
each. `--embedder` fits the intent routers on another embedder than the default: what its layers give over the finished
embedding is the difference to `--embedder embedded:all-minilm-l6-v2`.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results

DATA = ROOT.parent / "shared" / "data"
FOLDS = 5
REDRAWS = 1000
"""Of the rows, with replacement, for an interval (Efron 1979)."""

SPEED = """
import asyncio, json, resource, sys, time
from pathlib import Path
from sluicegate.cli.router.intents import fitted_router
from sluicegate.routing.data import read_labelled
router = fitted_router(Path(sys.argv[1]))
texts = read_labelled(Path(sys.argv[2])).texts[:int(sys.argv[3])]
async def measured():
    await router.classify(texts[0])
    times = []
    for text in texts:
        started = time.perf_counter()
        await router.classify(text)
        times.append(time.perf_counter() - started)
    return sorted(times)
times = asyncio.run(measured())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"p50_ms": times[len(times) // 2] * 1000, "p10_ms": times[len(times) // 10] * 1000,
                  "per_s": len(times) / sum(times), "peak_mb": peak}))
"""


def sluicegate(*arguments: str | Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "sluicegate", "router", *map(str, arguments), "--json"]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SLUICEGATE_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | one_thread, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def fitted(out: Path, *arguments: str | Path) -> float:
    """Fit unless the folder has the artifact already; minutes it took."""
    started = time.perf_counter()
    if not (out / "card.json").exists():
        sluicegate("fit", *arguments, "--out", out)
    return (time.perf_counter() - started) / 60


def tickets(folder: Path, *embedder: str) -> dict[str, Any]:
    parts = DATA / "it_tickets"
    out = folder / "tickets"
    minutes = fitted(out, parts / "train.jsonl.gz", "--calibration", parts / "calibration.jsonl.gz", *embedder)
    return sluicegate("report", out, "--data", parts / "tune.jsonl.gz") | {"fit_minutes": minutes}


def clinc(folder: Path, *embedder: str) -> dict[str, Any]:
    parts = DATA / "clinc150"
    out = folder / "clinc"
    minutes = fitted(
        out,
        *(parts / "train.jsonl.gz", parts / "oos_train.jsonl.gz"),
        *("--calibration", parts / "val.jsonl.gz", "--calibration", parts / "oos_val.jsonl.gz", "--oos-label", "oos"),
        *embedder,
    )
    rows = ("--data", parts / "val.jsonl.gz", "--data", parts / "oos_val.jsonl.gz")
    return sluicegate("report", out, *rows) | {"fit_minutes": minutes}


def banking(folder: Path, *embedder: str) -> dict[str, Any]:
    rows = gzip.decompress((DATA / "banking77" / "train.jsonl.gz").read_bytes()).splitlines(keepends=True)
    random.Random(0).shuffle(rows)
    fifth = len(rows) // 5
    held, train = folder / "banking-held.jsonl", folder / "banking-train.jsonl"
    held.write_bytes(b"".join(rows[:fifth]))
    train.write_bytes(b"".join(rows[fifth:]))
    minutes = fitted(folder / "banking", train, *embedder)
    return sluicegate("report", folder / "banking", "--data", held) | {"fit_minutes": minutes}


def escalation(folder: Path, *_embedder: str) -> dict[str, Any]:
    parts = DATA / "routellm"
    out = folder / "escalation"
    minutes = fitted(out, parts / "mmlu_train_1500.jsonl.gz", "--task", "escalate")
    return sluicegate("report", out, "--data", parts / "mmlu_dev_1500.jsonl.gz") | {"fit_minutes": minutes}


def nested(_folder: Path, *_embedder: str) -> dict[str, Any]:
    """Five folds over the rows of both parts: every row is scored by a fit that had the other four fifths, and chose
    its settings on those alone."""
    import numpy as np

    from sluicegate.cli.router.embedders import LAYERED, ROLE, embedding, only
    from sluicegate.routing.data import Escalations, read_escalations
    from sluicegate.routing.escalation.costquality import cost_quality
    from sluicegate.routing.escalation.fit import EMBED_WORDS, fit_escalation
    from sluicegate.routing.intent.head import for_embedding

    files = [DATA / "routellm" / f"mmlu_{part}_1500.jsonl.gz" for part in ("train", "dev")]
    both = [read_escalations(path) for path in files]
    prompts = [prompt for rows in both for prompt in rows.prompts]
    weak, strong = (np.array([mark for rows in both for mark in getattr(rows, of)]) for of in ("weak", "strong"))
    embed, embedder = embedding(only(LAYERED), ROLE)
    score = np.zeros(len(prompts))
    fold = np.random.default_rng(1).permutation(len(prompts)) % FOLDS

    async def scored() -> None:
        texts = [for_embedding(prompt, EMBED_WORDS) for prompt in prompts]
        vectors = await embed(texts, lambda _done, _of: None)
        known = dict(zip(texts, vectors, strict=True))

        async def looked_up(some: Sequence[str], _told: Callable[[int, int], None]) -> Any:
            return np.stack([known[text] for text in some])

        for number in range(FOLDS):
            inside = np.flatnonzero(fold != number).tolist()
            own = [prompts[i] for i in inside]
            rows = Escalations(own, weak[inside].tolist(), strong[inside].tolist(), {})
            fitted = await fit_escalation(rows, embed=looked_up, embedder=embedder)
            for i in np.flatnonzero(fold == number).tolist():
                score[i] = fitted.head.logits(prompts[i], fitted.head.seen(vectors[i]))[0]

    asyncio.run(scored())
    found = cost_quality(score, weak, strong)
    draws = np.random.default_rng(0).integers(0, len(score), (REDRAWS, len(score)))
    redrawn = [cost_quality(score[rows], weak[rows], strong[rows]).apgr for rows in draws]
    low, high = np.quantile([value for value in redrawn if value is not None], [0.025, 0.975]).tolist()
    return {"apgr": found.apgr, "cpt50": found.cpt50, "cpt80": found.cpt80, "low": low, "high": high}


def speed(folder: Path, *embedder: str) -> dict[str, Any]:
    parts = DATA / "clinc150"
    lexical = folder / "clinc-lexical"
    fitted(lexical, parts / "train.jsonl.gz", "--calibration", parts / "val.jsonl.gz", "--embedder", "none")
    joined = folder / "clinc"
    if not joined.exists():
        clinc(folder, *embedder)
    return {"lexical": _speed(lexical, 3000), "joined": _speed(joined, 300)}


def _speed(artifact: Path, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-c", SPEED, str(artifact), str(DATA / "clinc150" / "val.jsonl.gz"), str(rows)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "SLUICEGATE_THREADS": "1"}
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.splitlines()[-1])
        for _ in range(3)
    ]
    # others use the machine too: the best of three runs
    return min(runs, key=lambda run: run["p50_ms"])


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    "tickets": tickets,
    "clinc": clinc,
    "banking": banking,
    "escalation": escalation,
    "nested": nested,
    "speed": speed,
}


def table(found: dict[str, dict[str, Any]]) -> list[tuple[str, str, float, str]]:
    """Every figure: data, name, value, what to reach."""
    lines: list[tuple[str, str, float, str]] = []
    if t := found.get("tickets"):
        lines += [
            ("IT tickets", "accuracy", t["accuracy"], ">= .88"),
            ("IT tickets", "coverage at the target", t["coverage"], ">= .90"),
            ("IT tickets", "accuracy of the accepted", t["accepted_accuracy"], ">= .90"),
            ("IT tickets", "ECE", t["ece"], "<= .02"),
        ]
    if c := found.get("clinc"):
        lines += [
            ("CLINC150", "in-scope accuracy", c["in_scope_accuracy"], ">= .965"),
            ("CLINC150", "out-of-scope recall", c["oos_recall"], ">= .80"),
            ("CLINC150", "out-of-scope AUROC", c["oos_auroc"], ""),
        ]
    if b := found.get("banking"):
        lines += [("Banking77, a fifth held apart", "accuracy", b["accuracy"], ">= .94"), ("", "ECE", b["ece"], "")]
    if e := found.get("escalation"):
        lines += [
            ("MMLU escalation", "APGR", e["apgr"], ">= .70"),
            ("MMLU escalation", "CPT50", e["cpt50"], ""),
            ("MMLU escalation", "CPT80", e["cpt80"], ""),
        ]
    if n := found.get("nested"):
        interval = f"[{n['low']:.2f}, {n['high']:.2f}]"
        lines += [
            (f"MMLU escalation, both parts, five folds {interval}", "APGR", n["apgr"], ">= .70"),
            ("", "CPT50", n["cpt50"], ""),
            ("", "CPT80", n["cpt80"], ""),
        ]
    if s := found.get("speed"):
        lines += [
            ("with embeddings", "p50, ms a request", s["joined"]["p50_ms"], "<= 15"),
            ("with embeddings", "peak memory, MB", s["joined"]["peak_mb"], "<= 300"),
            ("lexical only", "requests a second", s["lexical"]["per_s"], ">= 2000"),
        ]
    return lines


ABOUT = """
Development parts of public data that the fits did not see (the test parts are not in the project), one thread: the
tuning part of the IT tickets, the validation part of CLINC150 (which also calibrates), a fifth of Banking77's training
part (so 28 % fewer training rows than the whole). The validation part flatters: on the public test part of CLINC150
(`test` and `oos_test` of clinc/oos-eval), given to `sluicegate router report` once, on 2026-11-28, the same fit has an
in-scope accuracy of 0.962 and an out-of-scope recall of 0.754; with as many of its out-of-scope rows refused as to
reach 0.80, the accuracy is 0.960. Axes whitened within the classes, chosen on the validation part, give 0.962 there and
take 0.3 points from Banking77, so the fit is as it was.
"""
ABOUT_ESCALATION = """
The development part of MMLU as the RouteLLM project has graded it, 1,500 rows that the fit did not see: a small model's
and a large one's answers, and which were right. APGR is the share of the gap between the two that routing recovers,
averaged over all shares sent to the large one; CPT50 and CPT80 are the shares that have to be sent for a half and for
four fifths of the gap. The second figures are over the 3,000 rows of both parts: each is scored by a fit that had the
other four fifths (2,400 rows instead of 1,500) and chose its settings on them; in brackets the 95 % interval of
1,000 redraws of the rows.
Of what cross-validation on the training part was asked, none was better by more than it can tell, a hundredth of APGR:
fewer principal axes, single layers of the encoder or their means alone, a kernel for each layer, words, characters and
the shape of a prompt beside them, the multilingual encoder, one regression for each model. One of the first among them,
128 axes instead of 384, gave 0.686 on the given part, looked at once, and 0.731 by the five folds, so the fit is as it
was: what is left to 0.70 there is less than 1,500 rows can tell.
"""
COLUMNS = ("data", "figure", "measured", "to reach")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    options.add_argument("--json", action="store_true")
    options.add_argument("--record", action="store_true")
    options.add_argument("--keep", type=Path, help="Keep artifacts here, and use those that are there.")
    options.add_argument("--embedder", help="Fit the intent routers on this embedder.")
    chosen = options.parse_args()
    embedder = ("--embedder", chosen.embedder) if chosen.embedder else ()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: the development data are needed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: RUNS[name](folder.resolve(), *embedder) for name in chosen.only}
    if chosen.record:
        for name, title, about, runs in (
            ("router", "Routing", ABOUT, RUNS.keys() - {"escalation", "nested"}),
            ("escalation", "Escalation", ABOUT_ESCALATION, {"escalation", "nested"}),
        ):
            part = {run: found[run] for run in chosen.only if run in runs}
            rows = [(data, figure, f"{value:.3g}", reach) for data, figure, value, reach in table(part)]
            if rows:
                results.record(name, title, about, [results.table(COLUMNS, *rows)])
    if chosen.json:
        plain = {k: {f: v for f, v in run.items() if not isinstance(v, list)} for k, run in found.items()}
        print(json.dumps(plain, indent=2))
        return
    for data, figure, value, reach in table(found):
        print(f"{data:32}{figure:28}{value:10.3f}   {reach}")


if __name__ == "__main__":
    main()
