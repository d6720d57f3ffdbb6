"""`make bench-joint`: thresholds chosen together, how often their bound is broken and what they gain.

    python benchmarks/joint.py [--redraws 400] [--json] [--record]

Two sources of requests whose outcome under both models is known. *Drawn*: requests from a formula, in any number, so
that the true risk of any thresholds is known. *MMLU*: the development part beside the repository
(`../shared/data/routellm`): whether Mixtral-8x7B and GPT-4 answered each question right. Two logistic regressions on
words and characters, fitted on the training part, give the confidence in either model. Where the first is below its
threshold the large model answers, where the second is, too, a person is asked. Each redraw takes rows to choose on.

Beside the thresholds chosen together stand stage-wise ones under the same bound: the small model's answers are wrong at
most so often, and so are the large model's, each proved on its own on the same rows.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import results
from sluicegate.errors import InsufficientDataError
from sluicegate.learning.threshold import NEVER, candidates, fit_threshold
from sluicegate.routing.joint.fit import ORDER, Outcomes, choose

DATA = ROOT.parent / "shared" / "data" / "routellm"
Floats = NDArray[Any]
CONFIDENCE = 0.95
STEPS = 24


def drawn(rows: int, rng: np.random.Generator) -> Floats:
    """Confidence in the small and in the large model, and whether each is right; (4, rows)."""
    easy, clear = rng.random(rows), rng.random(rows)
    small, large = 0.4 * easy + 0.6 * clear, 0.7 * easy + 0.3 * rng.random(rows)
    return np.array([small, large, rng.random(rows) < small**0.5, rng.random(rows) < 0.7 + 0.25 * easy])


def mmlu() -> Floats:
    """The same, of the development part."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, make_pipeline  # pyright: ignore[reportUnknownVariableType]

    def read(part: str) -> list[dict[str, Any]]:
        with gzip.open(DATA / f"mmlu_{part}_1500.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    train, held = read("train"), read("dev")
    views = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True)),
        ]
    )
    right = [np.array([row[f"{side}_correct"] for row in held]) for side in ("weak", "strong")]
    sure: list[Floats] = [
        make_pipeline(views, LogisticRegression(C=1.0, max_iter=500))
        .fit([row["prompt"] for row in train], [row[f"{side}_correct"] for row in train])
        .predict_proba([row["prompt"] for row in held])[:, 1]
        for side in ("weak", "strong")
    ]
    return np.array([*sure, *right])


def outcomes(rows: Floats, first: Floats, second: Floats) -> Outcomes:
    """Of each pair of thresholds."""
    small, large, small_right, large_right = rows
    kept = small >= first[:, None]
    sent = kept | (large >= second[:, None])
    wrong = np.array(sent & ~np.where(kept, small_right, large_right).astype(bool), bool)
    return Outcomes(sent, wrong, kept)


def jointly(order: Floats, proof: Floats, error: float) -> tuple[float, float] | None:
    values = [np.append(np.quantile(scores, np.linspace(0, 1, STEPS), method="lower"), NEVER) for scores in order[:2]]
    first, second = (grid.ravel() for grid in np.meshgrid(*values))
    try:
        chosen = choose(
            outcomes(order, first, second), outcomes(proof, first, second), error=error, confidence=CONFIDENCE
        )
    except InsufficientDataError:
        return None
    return float(first[chosen.candidate]), float(second[chosen.candidate])


def stagewise(order: Floats, proof: Floats, error: float) -> tuple[float, float]:
    """Each model's threshold by itself, in the order that the same rows give."""

    def of(own: Floats, other: Floats) -> float:
        score, right = own[0], own[1].astype(bool)
        grid = candidates(score, right, rows=other.shape[1], error=error, level=CONFIDENCE)
        found = fit_threshold(other[0], other[1].astype(bool), grid, error=error, level=CONFIDENCE)
        return found.value if found else NEVER

    first = of(order[[0, 2]], proof[[0, 2]])
    left = [part[:, part[0] < first] for part in (order, proof)]
    return first, of(left[0][[1, 3]], left[1][[1, 3]]) if min(part.shape[1] for part in left) else NEVER


def measured(name: str, error: float, rows: int, redraws: int, everything: Floats | None) -> dict[str, Any]:
    rng = np.random.default_rng(17)
    drawn_truth = drawn(50_000, rng)
    broken = refused = stage_broken = 0
    kept: list[float] = []
    stage_kept: list[float] = []
    for _ in range(redraws):
        if everything is None:
            sample, truth = drawn(rows, rng), drawn_truth
        else:
            # drawn with replacement from all rows, whose risk is then the true one
            sample, truth = everything[:, rng.integers(0, everything.shape[1], rows)], everything
        order, proof = sample[:, : rows // ORDER], sample[:, rows // ORDER :]
        chosen = jointly(order, proof, error)
        refused += chosen is None
        for thresholds, counts in ((chosen or (NEVER, NEVER), kept), (stagewise(order, proof, error), stage_kept)):
            end = outcomes(truth, *(np.array([value]) for value in thresholds))
            over = end.sent.any() and end.wrong.sum() / end.sent.sum() > error
            counts.append(float(end.kept.mean()))
            if counts is kept:
                broken += bool(over)
            else:
                stage_broken += bool(over)
    return {
        "source": name,
        "error": error,
        "rows": rows,
        "redraws": redraws,
        "broken": broken,
        "refused": refused,
        "kept": float(np.mean(kept)),
        "stagewise_broken": stage_broken,
        "stagewise_kept": float(np.mean(stage_kept)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraws", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    cases: list[tuple[str, float, int, Floats | None]] = [
        ("drawn", 0.25, 200, None),
        ("drawn", 0.25, 600, None),
        ("drawn", 0.2, 1500, None),
    ]
    if DATA.exists():
        known = mmlu()
        cases += [("MMLU", error, 1500, known) for error in (0.25, 0.2, 0.15)]
    else:
        print(f"without MMLU: no {DATA}", file=sys.stderr)
    found = [measured(name, error, rows, options.redraws, source) for name, error, rows, source in cases]
    print(json.dumps(found) if options.json else "\n".join(map(str, found)))
    if options.record:
        record(found)


def record(found: list[dict[str, Any]]) -> None:
    columns = ["requests", "bound", "graded rows", "broken", "refused", "without the large model", "stage-wise", "gain"]
    rows = [
        [
            one["source"],
            f"{one['error']:.0%}",
            f"{one['rows']:,}",
            f"{one['broken']} of {one['redraws']}",
            f"{one['refused']} of {one['redraws']}",
            f"{one['kept']:.1%}",
            f"{one['stagewise_kept']:.1%}",
            f"{one['kept'] / one['stagewise_kept'] - 1:+.0%}" if one["stagewise_kept"] else "",
        ]
        for one in found
    ]
    results.record("joint", "One bound over the whole", ABOUT, [results.table(columns, *rows)])


ABOUT = """
Thresholds chosen together at 95 % confidence, and stage-wise ones that prove the same bound for each model's answers
apart, on the same rows. Broken: of so many redraws, those whose thresholds send more wrong answers than the bound
allows; 5 % may. Without the large model: the share of requests that the small model answers unasked, refused fits
counted as none. "Drawn" requests come from a formula; of "MMLU" the outcome under Mixtral-8x7B and GPT-4 is known for
1,500 questions, which are drawn with replacement, so that the risk on all of them is the true one.
"""


if __name__ == "__main__":
    main()
