"""What the guards find, what they find wrongly, and how long they take.

    python benchmarks/guards.py [--record] every figure on guards, as JSON
    python benchmarks/guards.py grounded [--record]   those of the guard grounded, by language and kind of error
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import results
from sluicegate.errors import ModelError
from sluicegate.models.embedded.weights import ensure
from sluicegate.policies.guards.checking import Check, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import PiiSettings
from sluicegate.policies.guards.injection.disguises import readings, squeeze
from sluicegate.policies.guards.injection.injection import WEIGHTS
from sluicegate.policies.guards.injection.steering import FEATURES, features
from sluicegate.policies.guards.measure import LabelledRow, LabelledSpan, load_rows, measure
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


def _forms(part: str) -> list[LabelledRow]:
    """Generated values in the writings of Unicode and of many countries, and numbers that look like them."""
    from tests.support.pii_forms import rows

    return [
        LabelledRow(Subject(row.text, "request"), bool(row.kind), _spans(row.kind, row.start, row.end))
        for row in rows(part)
    ]


def _spans(kind: str, start: int, end: int) -> tuple[LabelledSpan, ...]:
    return (LabelledSpan(kind, start, end),) if kind else ()


def _names() -> dict[str, Any]:
    """People and places by the pinned model, on the development rows and on requests written afterwards."""
    try:
        model = ensure(MODEL)
    except ModelError as error:
        return {"not measured": str(error)}
    check = _check("pii", entities=("person", "place"), model=str(model))
    files = {"development": DATA / "guards" / "pii_dev.jsonl.gz", "own": CASES / "names_cases.jsonl"}
    figures = {name: measure(check, load_rows(file)) for name, file in files.items()}
    every = _check("pii", entities=(*PATTERN_ENTITIES, "person", "place", "organization"), model=str(model))
    whole = measure(every, load_rows(files["development"]))
    return {
        name: {**{kind: each["entities"][kind] for kind in ("person", "place")}, "ms_p50": each["latency_ms_p50"]}
        for name, each in figures.items()
    } | {"organization": whole["entities"]["organization"], "recall_over_all_types": whole["recall_over_all_types"]}


def grounded() -> dict[str, Any]:
    """Wrong claims that pass and right ones that are stopped, of the rows at hand and of those kept apart."""
    check = _check("grounded")
    found: dict[str, Any] = {}
    for part, apart in (("at hand", False), ("kept apart", True)):
        rows = [row for row in _cases("grounded_languages") if row["apart"] is apart]
        verdicts: list[tuple[dict[str, Any], bool]] = []
        for row in rows:
            verdict = check(Subject(row["text"], "output", sources=tuple(row["sources"])))
            assert isinstance(verdict, Verdict)
            verdicts.append((row, verdict.passed))
        for key in ("language", "kind"):
            groups = {row[key]: [(one, passed) for one, passed in verdicts if one[key] == row[key]] for row in rows}
            found[f"{part}, by {key}"] = {name: _passed(group) for name, group in sorted(groups.items())}
        found[part] = _passed(verdicts)
    return found


def _passed(verdicts: list[tuple[dict[str, Any], bool]]) -> dict[str, int]:
    wrong = [passed for row, passed in verdicts if row["flagged"]]
    right = [passed for row, passed in verdicts if not row["flagged"]]
    return {"wrong": len(wrong), "wrong passed": sum(wrong), "right": len(right), "right stopped": right.count(False)}


GROUNDED = """
Claims of our own in fifteen languages (`tests/policies/guards/grounded_languages.jsonl`): quotations, light paraphrases
(a number in digits for one in words, another order), and wrong claims of one changed thing each. Those kept apart are
whole languages, and every other passage of the rest; they were first scored when the rows at hand had no error left,
and then 4 of 119 wrong claims passed and no right one was stopped. Several rules and words were mended from those
errors, so the table is kinder than a first look. One author wrote all rows and the lists of negations; the sentences
are short.
"""


def grounded_tables(found: dict[str, Any]) -> list[results.Table]:
    def rows(part: str, key: str) -> list[tuple[Any, ...]]:
        return [
            (name, f"{one['wrong passed']} of {one['wrong']}", f"{one['right stopped']} of {one['right']}")
            for name, one in found[f"{part}, by {key}"].items()
        ]

    every = [
        (part, f"{found[part]['wrong passed']} of {found[part]['wrong']}",
         f"{found[part]['right stopped']} of {found[part]['right']}")
        for part in ("at hand", "kept apart")
    ]  # fmt: skip
    columns = ("wrong claims that pass", "right claims stopped")
    return [
        results.table(("rows", *columns), *every),
        results.table(("kept apart, by language", *columns), *rows("kept apart", "language")),
        results.table(("kept apart, by kind", *columns), *rows("kept apart", "kind")),
    ]


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
    if sys.argv[1:2] == ["grounded"]:
        found = grounded()
        print(json.dumps(found, indent=2))
        if "--record" in sys.argv:
            results.record("grounded", "The guard grounded, by language", GROUNDED, grounded_tables(found))
        return
    injection = DATA / "guards" / "injection_dev.jsonl.gz"
    ordinary = [Subject(row["text"], "request") for name in ("clinc150/val", "it_tickets/tune") for row in _read(name)]
    result: dict[str, Any] = {
        "pii": measure(_check("pii", entities=PATTERN_ENTITIES), load_rows(DATA / "guards" / "pii_dev.jsonl.gz")),
        "pii_forms": {part: measure(_check("pii"), _forms(part)) for part in ("in_view", "apart")},
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
    if "--record" in sys.argv:
        results.record("guards", "Guards", ABOUT, tables(result))


ABOUT = """
Public development parts (`../shared/data`) and labelled cases of our own (`tests/policies/guards/*_cases.jsonl`). The
own cases of secrets, grounded and tone were at hand while the patterns were written, so they are regression tests
rather than estimates; so is, in part, the injection set, whose phrases the features were written in view of. The rows
never fitted on were set apart by a hash before the first fit and scored once, after the features were settled; their
author wrote the others and the lexicon too, so they show less than an attacker's would, and the aim of 0.90 is not met
on them. The generated forms of personal data come from two lists of sentences: one in view while the recognisers were
written, one written afterwards, on which they first had recall .966 at precision .978. What that showed is mended, so
both are regression tests now. Names need the model `en-core-web-md`; its cues were written in view of the development
rows, the own requests when the method was done.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
    names, crossed = found["names"], found["injection_cross_validated"]
    ordinary, alone = found["flagged_ordinary_requests"], crossed["fitted_without_this_set"]
    rows, dev = found["pii"]["rows"], found["injection"]["rows"]

    def row(what: str, rows: Any, recall: float, precision: float | None, false: float | None) -> tuple[Any, ...]:
        share = "" if precision is None else f"{precision:.3f}"
        return what, rows, f"{recall:.3f}", share, "" if false is None else f"{false:.1%}"

    def whole(what: str, one: dict[str, Any]) -> tuple[Any, ...]:
        return row(what, one["rows"], one["recall"], one["precision"], one["false_positive_rate"])

    def spans(what: str, one: dict[str, Any]) -> tuple[Any, ...]:
        return row(what, f"{one['labelled']} spans", one["recall"], one["precision"], None)

    def fitted(what: str, rows: int, one: dict[str, float]) -> tuple[Any, ...]:
        return row(f"injection, {what}", rows, one["recall"], None, one["false_positive_rate"])

    accuracy = results.table(
        ("guard", "rows", "recall", "precision", "false positives"),
        whole("pii, structured types (Presidio research)", found["pii"]),
        whole("pii, generated forms, sentences in view", found["pii_forms"]["in_view"]),
        whole("pii, generated forms, other sentences", found["pii_forms"]["apart"]),
        spans("pii, street addresses", found["pii"]["entities"]["street-address"]),
        row("pii, every type, without a model", rows, found["pii"]["recall_over_all_types"], None, None),
        row("pii, every type, with the model", rows, names["recall_over_all_types"], None, None),
        spans("pii, people, with the model", names["development"]["person"]),
        spans("pii, places, with the model", names["development"]["place"]),
        spans("pii, organisations, with the model", names["organization"]),
        spans("pii, people, own requests", names["own"]["person"]),
        spans("pii, places, own requests", names["own"]["place"]),
        fitted("cross-validated by template", dev, crossed),
        fitted("fitted without that set", dev, alone),
        fitted("own harder cases, cross-validated", len(_cases(OWN["own"])), crossed["own_cases"]),
        fitted("cases in 21 languages, cross-validated", len(_cases(OWN["languages"])), crossed["languages_cases"]),
        whole("injection, of the same hand, never fitted on", found["injection_apart"]),
        whole("secrets, own cases", found["secrets"]),
        whole("grounded, own cases", found["grounded"]),
        whole("tone, own cases", found["tone"]),
    )
    flagged = results.table(
        ("ordinary requests", "flagged"),
        *((f"{name}, {ordinary['rows']:,} of CLINC150 and IT tickets", ordinary[name]) for name in ("pii", "secrets")),
        ("injection, CLINC150 (cross-validated)", f"{crossed['clinc150_flagged']:.1%}"),
        ("injection, IT tickets (cross-validated)", f"{crossed['it_tickets_flagged']:.1%}"),
        ("injection, safe prompts of XSTest (cross-validated)", f"{crossed['xstest_safe_refused']:.1%}"),
    )
    times = found["milliseconds_per_1000_characters"]
    taken = results.table(
        ("time", "ms"),
        *((f"{name}, 1,000 characters", f"{times[name]:.1f}") for name in ("pii", "injection")),
        ("every pattern guard, 1,000 characters", f"{times['all']:.1f}"),
        ("names by the model, a request", f"{names['own']['ms_p50']:.0f}"),
        ("what guardrails-ai adds to a node's guards", f"{found['guardrails']['added_ms_p50']:.1f}"),
    )
    return [accuracy, flagged, taken]


if __name__ == "__main__":
    main()
