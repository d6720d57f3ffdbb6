"""`make bench-answers`: how well the confidence in the helpdesk's answers is fitted, and what its threshold lets out.

    python benchmarks/answers.py [--keep FOLDER] [--record]

Grades what the workflow quotes to the requests of its example files, fits on those of `train`, proves on those of
`answers`, at several targets and without the similar questions, and reports on rows that no fit has seen. Each step is
a command that anybody can run: `sluicegate router grade`, `fit` and `report`. Grading takes minutes for each thousand
rows; `--keep` keeps what was graded, and grades it no second time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results

HELPDESK = ROOT / "configs" / "helpdesk"
WORKFLOW = HELPDESK / "workflow.yaml"
EXAMPLES = HELPDESK / "examples"
UNSEEN = {"examples/eval.jsonl": EXAMPLES / "eval.jsonl", "eval/cases.jsonl": HELPDESK / "eval" / "cases.jsonl"}
EMBEDDER = "embedded:all-minilm-l6-v2"
TARGETS = (0.15, 0.2, 0.25, 0.3)
ABOUT = """
Of the helpdesk's quotations what is quoted whatever a model picks, so that the fit holds for every model and none is
asked: {train:,} graded answers fit, {proof:,} others prove; of those {right:.0f} % are right. The rows that prove were
written from the documents after everything else was settled, and no answer to them was looked at before the fit. A
target is an error bound at 95 % confidence; what is accepted is at or above the threshold.
"""


def sluicegate(home: Path, *arguments: str | Path) -> Any:
    """What the command prints as JSON; None where rows do not support what was asked (SG313)."""
    command = [sys.executable, "-m", "sluicegate", *map(str, arguments), "--json"]
    environment = os.environ | {"SLUICEGATE_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode and "SG313" in done.stdout + done.stderr:
        return None
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def graded(folder: Path, rows: Path, *, told: bool = False) -> Path:
    """The file of graded answers to `rows`; `told` leaves out rows that do not say what is right."""
    found = folder / f"graded-{rows.stem}.jsonl"
    if found.exists():
        return found
    lines = rows.read_text("utf-8").splitlines()
    asked = folder / rows.name
    kept = [line for line in lines if not told or json.loads(line).keys() & {"facts", "known", "answer"}]
    asked.write_text("".join(f"{line}\n" for line in kept), "utf-8")
    print(sluicegate(folder / "home", "router", "grade", WORKFLOW, "--data", asked, "--out", found), flush=True)
    return found


def fitted(folder: Path, train: Path, proof: Path, target: float, embedder: str = EMBEDDER) -> dict[str, Any] | None:
    out = folder / f"fit-{target}-{embedder.removeprefix('embedded:')}"
    options = ("--task", "answer", "--calibration", proof, "--error", str(target), "--embedder", embedder)
    found = sluicegate(folder / "home", "router", "fit", train, *options, "--out", out)
    return found[0] if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder of what was graded")
    parser.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (given.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        sluicegate(folder / "home", "ingest", WORKFLOW)
        train, proof = graded(folder, EXAMPLES / "train.jsonl", told=True), graded(folder, EXAMPLES / "answers.jsonl")
        by_target = {target: fitted(folder, train, proof, target) for target in TARGETS}
        bare = {target: fitted(folder, train, proof, target, "none") for target in TARGETS}
        of_fit = [
            (name, f"{one['auroc']:.3f}", f"{one['ece']:.3f}", f"{one['answerability_auroc']:.3f}")
            for name, runs in (("as it is", by_target), ("without the similar-question features", bare))
            if (one := next((run for run in runs.values() if run), None))
        ]
        of_target: list[tuple[str, ...]] = []
        for target, one in by_target.items():
            if one is None:
                of_target.append((f"{target:.0%} error", "refused: no threshold reaches it", "", ""))
                continue
            right = f"{1 - one['accepted_right']:.0%} of {round(one['coverage'] * one['proof'])}"
            of_target.append(
                (f"{target:.0%} error", f"{one['coverage']:.0%}", right, f"{one['accepted_error_bound']:.1%}")
            )
        artifact = HELPDESK / "routers" / "answers" / "any+quote"
        unseen: list[tuple[str, ...]] = []
        for name, rows in UNSEEN.items():
            report = sluicegate(
                folder / "home", "router", "report", artifact, "--data", graded(folder, rows, told=True)
            )
            wrong = round(report["accepted"] * (1 - report["accepted_accuracy"]))
            unseen.append((name, report["rows"], report["accepted"], wrong, f"{report['auroc']:.3f}"))  # type: ignore[arg-type]
    for line in (*of_fit, *of_target, *unseen):
        print(*line, sep=" | ", flush=True)
    if given.record:
        some = next(one for one in by_target.values() if one)
        results.record(
            "answers",
            "Confidence in answers",
            ABOUT.format(train=some["train"], proof=some["proof"], right=100 * some["right"]),
            [
                results.table(("fit", "AUROC of the confidence", "ECE", "AUROC of answerability"), *of_fit),
                results.table(("target", "accepted", "wrong of these", "bound"), *of_target),
                results.table(
                    ("rows in no fit", "answers", "accepted by the artifact", "wrong of these", "AUROC"), *unseen
                ),
            ],
        )


if __name__ == "__main__":
    main()
