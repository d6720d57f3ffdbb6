"""What the guards find, what they find wrongly, and how long they take.

    python benchmarks/guards.py            every figure of docs/guards.md, as JSON
    python benchmarks/guards.py fit        fit the injection guard again and write its weights and card

The data are the development parts beside the repository (`../shared/data`) and the labelled cases of the tests.
Cross-validation keeps all rows of one template together (a template is what stays when the disguise, the quotation
and the trailing reference numbers are removed); `left out` fits without a whole kind of attack.
"""

import gzip
import hashlib
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.errors import ModelError
from sluicegate.models.embedded.weights import ensure
from sluicegate.policies.guards.checking import Check, Helpers, Subject
from sluicegate.policies.guards.config import PiiSettings
from sluicegate.policies.guards.injection.disguises import readings, squeeze
from sluicegate.policies.guards.injection.injection import WEIGHTS
from sluicegate.policies.guards.injection.steering import FEATURES, features
from sluicegate.policies.guards.measure import load_rows, measure
from sluicegate.policies.guards.pii.recognizers import PATTERN_ENTITIES
from sluicegate.policies.guards.registry import guards

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CASES = ROOT / "tests" / "policies" / "guards"

MODEL = "en-core-web-md"
THRESHOLD = 0.45
REGULARISATION = 3.0
"""Inverse strength of the L2 penalty."""
ORDINARY = 1500
"""Rows taken from each set of ordinary requests."""
OWN = {"own": "injection_cases", "languages": "injection_languages"}
"""Labelled cases that are fitted on; `injection_apart` never is."""
PATTERN_GUARDS = ("pii", "secrets", "injection", "tone", "length", "citations", "grounded")


def _read(name: str) -> list[dict[str, Any]]:
    file = DATA / f"{name}.jsonl.gz"
    if not file.exists():
        sys.exit(f"{file} is absent: the development data are needed")
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def _cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def _check(name: str, **settings: Any) -> Check:
    kind = guards()[name]
    return kind.make(kind.settings.model_validate(settings), Helpers())


class Rows:
    """The labelled texts of the injection guard with their features, one list of features for each reading."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        dev = [(row["text"], row["attack"], row["kind"]) for row in _read("guards/injection_dev")]
        own = [(row["text"], row["attack"], kind) for kind, name in OWN.items() for row in _cases(name)]
        safe = [(row["text"], False, "xstest") for row in _read("guards/overrefusal_dev") if row["safe"]]
        ordinary: list[tuple[str, bool, str]] = []
        for name in ("clinc150", "it_tickets"):
            rows = _read(f"{name}/train")
            chosen = rng.choice(len(rows), ORDINARY, replace=False)
            ordinary += [(rows[at]["text"], False, name) for at in sorted(chosen)]
        every = dev + own + safe + ordinary
        self.texts = [text for text, _, _ in every]
        self.attack = np.array([attack for _, attack, _ in every])
        self.kind = np.array([kind for _, _, kind in every])
        self.dev = np.arange(len(every)) < len(dev)
        self.features = [np.array([features(reading) for reading in readings(text)]) for text in self.texts]
        keys = [self._template(at) for at in range(len(every))]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.group = np.array([numbers[key] for key in keys])

    def _template(self, at: int) -> str:
        if not self.dev[at]:
            return f"{self.kind[at]} {at}"
        telling = self.features[at][:, FEATURES.index("pairs")].argmax()
        text = readings(self.texts[at])[int(telling)].text
        plain = squeeze(re.sub(r"(['\"]).{3,80}?\1", "", text))
        plain = re.split(f"{squeeze('reference')}|{squeeze('scenario')}", plain)[0]
        return f"{self.kind[at]} {plain[:30]}"


def _fit(rows: Rows, chosen: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit by turns: each text is represented by the reading that the weights so far find the worst."""
    from sklearn.linear_model import LogisticRegression

    start = np.zeros(len(FEATURES))
    start[FEATURES.index("pairs")] = 1.0
    weights = start
    model: Any = None
    for _ in range(3):
        worst = np.array([rows.features[at][(rows.features[at] @ weights).argmax()] for at in chosen])
        model = LogisticRegression(C=REGULARISATION, max_iter=3000).fit(worst, rows.attack[chosen])
        weights = model.coef_[0]
    return float(model.intercept_[0]), weights


def _scores(rows: Rows, chosen: np.ndarray, intercept: float, weights: np.ndarray) -> np.ndarray:
    logits = np.array([(rows.features[at] @ weights).max() + intercept for at in chosen])
    return 1 / (1 + np.exp(-logits))


def cross_validated(rows: Rows) -> dict[str, Any]:
    """Figures on rows that were not fitted on."""
    from sklearn.model_selection import GroupKFold

    scores = np.zeros(len(rows.texts))
    for train, test in GroupKFold(10, shuffle=True, random_state=0).split(scores, rows.attack, rows.group):
        scores[test] = _scores(rows, test, *_fit(rows, train))
    found = scores >= THRESHOLD

    def share(which: np.ndarray) -> float:
        return round(float(found[which].mean()), 4)

    own = {kind: rows.kind == kind for kind in OWN}
    left_out: dict[str, float] = {}
    for kind in sorted(set(rows.kind[rows.dev & rows.attack])):
        test = np.flatnonzero(rows.kind == kind)
        fitted = _fit(rows, np.flatnonzero(rows.kind != kind))
        left_out[str(kind)] = round(float((_scores(rows, test, *fitted) >= THRESHOLD).mean()), 4)
    without = _scores(rows, np.flatnonzero(rows.dev), *_fit(rows, np.flatnonzero(~rows.dev))) >= THRESHOLD
    truth = rows.attack[rows.dev]
    return {
        "threshold": THRESHOLD,
        "templates": int(rows.group[rows.dev].max()) + 1,
        "recall": share(rows.dev & rows.attack),
        "false_positive_rate": share(rows.dev & ~rows.attack),
        "recall_with_this_kind_left_out": left_out,
        "fitted_without_this_set": {
            "recall": round(float(without[truth].mean()), 4),
            "false_positive_rate": round(float(without[~truth].mean()), 4),
        },
        **{
            f"{kind}_cases": {"recall": share(at & rows.attack), "false_positive_rate": share(at & ~rows.attack)}
            for kind, at in own.items()
        },
        "xstest_safe_refused": share(rows.kind == "xstest"),
        "clinc150_flagged": share(rows.kind == "clinc150"),
        "it_tickets_flagged": share(rows.kind == "it_tickets"),
    }


def fit() -> dict[str, Any]:
    rows = Rows()
    figures = cross_validated(rows)
    intercept, weights = _fit(rows, np.arange(len(rows.texts)))
    card = {
        "about": "Logistic regression over the features of steering.py; the highest reading of a text counts.",
        "fitted_on": {
            name: hashlib.sha256((DATA / f"{name}.jsonl.gz").read_bytes()).hexdigest()
            for name in ("guards/injection_dev", "guards/overrefusal_dev", "clinc150/train", "it_tickets/train")
        }
        | {name: hashlib.sha256((CASES / f"{name}.jsonl").read_bytes()).hexdigest() for name in OWN.values()},
        "cross_validated": figures,
        "limits": "English first; short orders in two dozen other languages, each on few rows. "
        "The features were written with the development set in view, so its figures are the kinder ones.",
    }
    stored = {
        "card": card,
        "threshold": THRESHOLD,
        "intercept": round(intercept, 4),
        "weights": {name: round(float(weight), 4) for name, weight in zip(FEATURES, weights, strict=True)},
    }
    WEIGHTS.write_text(json.dumps(stored, indent=1) + "\n")
    return figures


def pattern_time(characters: int = 1000) -> dict[str, float]:
    """Milliseconds of each pattern guard on a text of the given length, and of all together (least of twenty)."""
    text = (
        "To reset your password open the portal, choose 'Forgot password' and follow the link that is sent to your "
        "address within 15 minutes [1]. Call the desk at +41 44 555 01 23 on Monday 12 May 2025 if the link fails; "
        "order 12345678 and room 4.12 are no secrets. Servers 10.0.0.12 and 10.0.0.13 are restarted at 02:00 [2]. "
    )
    text = (text * (characters // len(text) + 1))[:characters]
    subject = Subject(text, "output", "How do I reset my password?", (text[: characters // 2], text[characters // 2 :]))
    result: dict[str, float] = {}
    for name in PATTERN_GUARDS:
        settings = {"entities": PATTERN_ENTITIES} if guards()[name].settings is PiiSettings else {}
        check = _check(name, **settings)
        times: list[float] = []
        for _ in range(20):
            start = time.perf_counter()
            check(subject)
            times.append((time.perf_counter() - start) * 1000)
        result[name] = round(min(times), 3)
    return {**result, "all": round(sum(result.values()), 3)}


def _names() -> dict[str, Any]:
    """People and places by the pinned model, on the development rows and on requests written afterwards."""
    try:
        model = ensure(MODEL)
    except ModelError as error:
        return {"not measured": str(error)}
    check = _check("pii", entities=("person", "place"), model=str(model))
    files = {"development": DATA / "guards" / "pii_dev.jsonl.gz", "own": CASES / "names_cases.jsonl"}
    figures = {name: measure(check, load_rows(file)) for name, file in files.items()}
    return {
        name: {**{kind: each["entities"][kind] for kind in ("person", "place")}, "ms_p50": each["latency_ms_p50"]}
        for name, each in figures.items()
    }


def set_overhead() -> dict[str, float]:
    """Milliseconds that running guards through guardrails-ai adds to one check of a node (median of fifty)."""
    import asyncio

    from sluicegate.policies.guards.set import GuardSet

    async def run() -> float:
        ready, times = GuardSet(), list[float]()
        for _ in range(50):
            start = time.perf_counter()
            report = await ready.check(["length", "citations"], "Yes [1].", stage="output", sources=["Yes."])
            spent = (time.perf_counter() - start) * 1000
            times.append(spent - sum(result["ms"] for result in report.results))
        return statistics.median(times)

    return {"added_ms_p50": round(asyncio.run(run()), 3)}


def main() -> None:
    if sys.argv[1:] == ["fit"]:
        print(json.dumps(fit(), indent=2))
        return
    injection = DATA / "guards" / "injection_dev.jsonl.gz"
    ordinary = [Subject(row["text"], "request") for name in ("clinc150/val", "it_tickets/tune") for row in _read(name)]
    result: dict[str, Any] = {
        "pii": measure(_check("pii", entities=PATTERN_ENTITIES), load_rows(DATA / "guards" / "pii_dev.jsonl.gz")),
        "names": _names(),
        "injection": measure(_check("injection"), load_rows(injection)),
        "injection_apart": measure(_check("injection"), load_rows(CASES / "injection_apart.jsonl")),
        "injection_cross_validated": json.loads(WEIGHTS.read_text())["card"]["cross_validated"],
        "milliseconds_per_1000_characters": pattern_time(),
        "guardrails": set_overhead(),
        "flagged_ordinary_requests": {
            "rows": len(ordinary),
            **{name: sum(not _check(name)(subject).passed for subject in ordinary) for name in ("pii", "secrets")},
        },
    }
    for name in ("grounded", "secrets", "tone"):
        result[name] = measure(_check(name), load_rows(CASES / f"{name}_cases.jsonl", stage="output"))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
