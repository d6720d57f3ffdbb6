"""What the guards find, what they find wrongly, and how long they take.

    python benchmarks/guards.py [--record] every figure on guards, as JSON
    python benchmarks/guards.py grounded [--record]   those of the guard grounded, by language and kind of error
    python benchmarks/guards.py pii [--record]        the engines of the guard pii beside each other
    python benchmarks/guards.py injection FOLDER [--record]   those of the guard injection, by kind and source
    python benchmarks/guards.py review [--record]     the reviewers of slm-review beside each other
    python benchmarks/guards.py fit FOLDER fit the injection guard again, with what is in FOLDER (see `harmless.py`)

The data are the development parts beside the repository (`../shared/data`), the labelled cases of the tests, and, for
the injection guard, e-mails and documents. The figures of its card are on rows whose whole source was left out.
"""

import gzip
import hashlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import harmless, results
from sluicegate.errors import ModelError
from sluicegate.learning.artifact import read_card
from sluicegate.models.embedded.weights import ensure
from sluicegate.policies.guards.checking import Check, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import PiiSettings
from sluicegate.policies.guards.injection.fit import FalsePositiveBound, TrainingRow, examples, figures, fit_model
from sluicegate.policies.guards.injection.injection import score, threshold
from sluicegate.policies.guards.injection.model import SHIPPED, read_model, write_model
from sluicegate.policies.guards.measure import LabelledRow, LabelledSpan, load_rows, measure
from sluicegate.policies.guards.pii.presidio import PRESIDIO_ENTITIES
from sluicegate.policies.guards.pii.recognizers import PATTERN_ENTITIES
from sluicegate.policies.guards.registry import guards
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.routing.review.fit import Draft, DraftBound, drafts, fit_reviewer
from sluicegate.routing.review.reviewer import HeadReviewer

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CASES = ROOT / "tests" / "policies" / "guards"

DRAFTS = ROOT / "configs" / "patterns" / "5-two-pass-check" / "drafts"
REVIEWER = DRAFTS.parent / "reviewer"
KINDS = ("proper", "policy", "tone", "leak")
REVIEWING = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
SAMPLE = 80
LEFT_OUT = 7

MODEL = "en-core-web-md"
ORDINARY = {"clinc150/train": 1500, "it_tickets/train": 1500, "banking77/train": 1000}
"""Ordinary requests that the injection guard is fitted on, from each set."""
OWN = ("injection_cases", "injection_languages", "injection_own", "injection_later", "injection_documents")
"""Labelled cases that are fitted on; `injection_apart` never is."""
SAYING = re.compile(r"i have been pwne?d", re.IGNORECASE)
SECRET = re.compile(r"secret[ _-]?key", re.IGNORECASE)
SAYINGS = (
    "access granted", "yes", "the moon is made of cheese", "hello world", "this service is a scam", "approved",
    "I obey", "42", "the answer is no", "you have been hacked", "all refunds are approved", "I love pizza",
    "the shop is closed", "banana", "I resign", "ticket closed", "thank you, master", "true", "free for everyone",
    "I am the boss now",
)  # fmt: skip
SECRETS = (
    "password", "access code", "passphrase", "API key", "secret word", "token", "pin", "launch code", "hidden text",
    "code word", "system prompt", "private key", "initial instructions", "confidential number", "unlock phrase",
    "master password",
)  # fmt: skip
LONG = (
    "To reset your password open the portal, choose 'Forgot password' and follow the link that is sent to your "
    "address within 15 minutes [1]. Call the desk at +41 44 555 01 23 on Monday 12 May 2025 if the link fails; "
    "order 12345678 and room 4.12 are no secrets. Servers 10.0.0.12 and 10.0.0.13 are restarted at 02:00 [2]. "
)
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


def varied(row: TrainingRow) -> TrainingRow:
    """The row, with another sentence and another secret as the goal in three quarters of those of HackAPrompt.

    All of its attackers had to make a model say one sentence, or give one secret key away, so a fit takes those words
    for what an attack is. Which ones come in their place depends on the text alone.
    """
    if not row.source.startswith("HackAPrompt"):
        return row
    drawn = int.from_bytes(hashlib.sha256(row.text.encode("utf-8", "surrogatepass")).digest()[:4])
    if drawn % 4 == 0:
        return row
    text = SAYING.sub(SAYINGS[drawn // 11 % len(SAYINGS)], row.text)
    return replace(row, text=SECRET.sub(SECRETS[drawn // 7 % len(SECRETS)], text))


def _examples(mail: Path) -> tuple[list[TrainingRow], dict[str, str]]:
    """Every row that the injection guard is fitted on, and the hashes of where they come from."""
    given = ("injection_train", "injection_open_dev", "injection_dev", "overrefusal_dev")
    files = [DATA / "guards" / f"{name}.jsonl.gz" for name in given]
    rows, digests = examples([*files, *(CASES / f"{name}.jsonl" for name in OWN)])
    # the unsafe requests of XSTest steer no model; it is here for what it calls safe
    unsafe = {row["text"] for row in _read("guards/overrefusal_dev") if not row["safe"]}
    rows = [row for row in rows if row.text not in unsafe]
    rng = np.random.default_rng(7)
    for name, count in ORDINARY.items():
        texts = sorted({row["text"] for row in _read(name)})
        rows += [
            TrainingRow(texts[at], attack=False, source=name, kind="benign")
            for at in rng.permutation(len(texts))[:count]
        ]
        digests[name] = hashlib.sha256((DATA / f"{name}.jsonl.gz").read_bytes()).hexdigest()
    added = {
        "e-mails": harmless.mails(mail),
        "package descriptions": harmless.descriptions(apart=False),
        "handbook": harmless.handbook(mail),
    }
    for name, texts in added.items():
        rows += texts
        digests[name] = hashlib.sha256("\0".join(row.text for row in texts).encode()).hexdigest()
    return list({row.text: row for row in map(varied, rows)}.values()), digests


def fit(mail: Path) -> dict[str, Any]:
    """Fit the shipped model."""
    rows, digests = _examples(mail)
    model, scored = fit_model(rows, target=FalsePositiveBound(0.009, long_error=0.03))
    card = {**model.card, "data": digests, "flagged": figures(rows, scored, model.threshold)}
    write_model(SHIPPED, replace(model, card=card))
    return card


def pattern_time(characters: int = 1000) -> dict[str, float]:
    """Milliseconds of each pattern guard on a text of the given length, and of all together (least of twenty)."""
    text = (LONG * (characters // len(LONG) + 1))[:characters]
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


ENGINES = ("patterns", "presidio")


def engines() -> dict[str, Any]:
    """Both engines of the guard `pii` on the same rows, in what both can find."""
    usual = {engine: _check("pii", engine=engine) for engine in ENGINES}
    common = [entity for entity in PATTERN_ENTITIES if entity in PRESIDIO_ENTITIES]
    dev = load_rows(DATA / "guards" / "pii_dev.jsonl.gz")
    cases = {name: _shared_cases(name) for name in ("pii_forms", "pii_lookalikes")}
    found: dict[str, Any] = {}
    for engine, check in usual.items():
        found[engine] = {
            "pii_dev": measure(_check("pii", engine=engine, entities=common), dev),
            "generated": measure(check, _forms("apart")),
            **{name: measure(check, rows) for name, rows in cases.items()},
        }
    return found


def _shared_cases(name: str) -> list[LabelledRow]:
    """Texts from public bug reports: a value of a kind somewhere in them, or one that only looks like it."""
    file = ROOT.parent / "shared" / "cases" / f"{name}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [LabelledRow(Subject(row["text"], "request"), "kind" in row) for row in rows]


ABOUT_ENGINES = """
The guard `pii` with its own recognisers (`patterns`) and with Presidio's (`presidio`), at their defaults, without a
model for names; of the development rows, the types that both know. Our recognisers were written or mended in view of
all these rows, and the development rows are of Presidio's own project: neither column is an estimate for other texts.
"""


def engine_tables(found: dict[str, Any]) -> list[results.Table]:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    def row(what: str, part: str, key: str) -> tuple[str, ...]:
        return what, *(cell(found[engine][part][key]) for engine in ENGINES)

    def caught(what: str, part: str, key: str, of: str) -> tuple[str, ...]:
        sets = [found[engine][part] for engine in ENGINES]
        return what, *(f"{round(one[key] * one[of])} of {one[of]}" for one in sets)

    count = found["patterns"]["pii_dev"]["rows"]
    return [
        results.table(
            ("rows", *ENGINES),
            row(f"Presidio research, {count} rows, recall", "pii_dev", "recall"),
            row("the same, precision", "pii_dev", "precision"),
            row("generated forms, other sentences, recall", "generated", "recall"),
            row("the same, precision", "generated", "precision"),
            caught("forms of bug reports, flagged", "pii_forms", "recall", "positives"),
            caught("look-alikes of bug reports, flagged", "pii_lookalikes", "false_positive_rate", "negatives"),
            ("ms for a row of Presidio research, median",
             *(f"{found[engine]['pii_dev']['latency_ms_p50']:.2f}" for engine in ENGINES)),
        )
    ]  # fmt: skip


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


def injection(folder: Path) -> dict[str, Any]:
    """Rows that no fit has seen, and the card; `folder` also holds the attacks of Tensor Trust."""
    own = _cases("injection_apart")
    unseen: dict[str, tuple[bool, list[str]]] = {
        "Tensor Trust, asking for a secret": (True, _trust(folder, "extraction")),
        "Tensor Trust, taking a prompt over": (True, _trust(folder, "hijacking")),
        "own attacks, set apart": (True, [row["text"] for row in own if row["attack"]]),
        "own look-alikes, set apart": (False, [row["text"] for row in own if not row["attack"]]),
        "e-mails and newsletters, of a corpus that was fitted on": (
            False,
            _texts(harmless.mails(folder, apart=True)[::8]),
        ),
        "pages of a handbook, of which others were fitted on": (False, _texts(harmless.handbook(folder, apart=True))),
        "descriptions of other packages": (False, _texts(harmless.descriptions(apart=True))),
        "CLINC150, validation part": (False, [row["text"] for row in _read("clinc150/val")[::3]]),
        "IT tickets, tuning part": (False, [row["text"] for row in _read("it_tickets/tune")[::5]]),
    }
    limit = threshold()
    flagged = {
        name: {"attack": attack, "rows": len(texts), "flagged": sum(score(text) >= limit for text in texts)}
        for name, (attack, texts) in unseen.items()
    }
    return {"unseen": flagged, "card": dict(read_model(SHIPPED).card), "cpu_ms": injection_time()}


def _texts(rows: list[TrainingRow]) -> list[str]:
    return [row.text for row in rows]


def _trust(folder: Path, kind: str) -> list[str]:
    lines = (folder / f"{kind}_robustness_dataset.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted({json.loads(line)["attack"] for line in lines})


def injection_time(characters: int = 1000) -> float:
    """Milliseconds of one core for a text of the given length, as the process counts them (least of twenty)."""
    text = (LONG * (characters // len(LONG) + 1))[:characters]
    times: list[float] = []
    for _ in range(20):
        start = time.process_time()
        score(text)
        times.append((time.process_time() - start) * 1000)
    return round(min(times), 3)


INJECTION = """
`unseen` are rows that the shipped model was not fitted on; the folder named in the command holds the e-mails and pages
of `benchmarks/harmless.py` and the two `*_robustness_dataset.jsonl` of github.com/HumanCompatibleAI/tensor-trust-data.
What was set apart is of the author of the cases that were fitted on, so it shows less than an attacker's would.
SpamAssassin's mail is of 2002, much of it newsletters and mailing lists about software and security. Figures by kind
and source are of the given sets, own cases, e-mails and documents that are fitted on, but each is of fits that had not
seen the row's source, at the threshold of the shipped model: what to expect of a source unlike those. HackAPrompt's
attacks have other goals there than in their source (`varied` in the script). The fifth of the harmless rows on which
the threshold is proved is of known sources and was fitted by nothing; short and long texts have a bound each.
"""


def injection_tables(found: dict[str, Any]) -> list[results.Table]:
    card = found["card"]
    unseen = results.table(
        ("unseen", "rows", "flagged"),
        *((name, f"{one['rows']:,}", f"{one['flagged'] / one['rows']:.2%}") for name, one in found["unseen"].items()),
        *(
            (
                f"harmless {length} texts, kept for the threshold",
                f"{bound['rows']:,}",
                f"{bound['flagged'] / bound['rows']:.2%}",
            )
            for length, bound in (("short", card["bound"]), ("long", card["long_bound"]))
        ),
    )
    steering = results.table(
        ("fitted without the row's source", "rows", "flagged"),
        *(
            (f"{by}: {name}", f"{one['rows']:,}", f"{one['flagged']:.2%}")
            for by in ("kind", "source")
            for name, one in card["flagged"][by].items()
            if one["rows"] >= 25
        ),
    )
    return [unseen, steering, results.table(("time", "ms of one core"), ("1,000 characters", f"{found['cpu_ms']:.1f}"))]


def _passing(drafts: Sequence[Draft], verdicts: Sequence[bool | None]) -> dict[str, str]:
    """How many drafts of each kind a reviewer lets pass."""
    found = {kind: [ok is True for one, ok in zip(drafts, verdicts, strict=True) if one.kind == kind] for kind in KINDS}
    return {kind: f"{sum(passed)} of {len(passed)}" for kind, passed in found.items()}


def review() -> dict[str, Any]:
    """The shipped head on drafts of sources that it was not fitted on, the small models on a sample of these, and heads
    fitted without some sources on the drafts of those."""
    import asyncio

    from sluicegate.cli.router.embedders import LAYERED, ROLE, embed_like, embedding, only
    from sluicegate.graphs.runtime.slm_reviewer import reviewer
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig

    rows = {
        part: [json.loads(line) for line in (DRAFTS / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("train", "calibration", "eval")
    }
    held = drafts(rows["eval"])
    card = read_card(REVIEWER)
    head = HeadReviewer(REVIEWER, lambda _: embed_like(card["embedder"]))
    sample: list[Draft] = [held[at] for at in np.random.default_rng(0).permutation(len(held))[:SAMPLE]]
    every = [row for part in rows.values() for row in part]
    sources = sorted({row["source"] for row in every})
    embed, embedder = embedding(only(LAYERED), ROLE)

    async def without(some: Sequence[str], work: Path) -> dict[str, Any]:
        apart = [row for row in every if row["source"] in some]
        rest = [row for row in every if row["source"] not in some]
        target = DraftBound(0.5)  # proved on the few left out; their AUROC is what is asked here
        given = (drafts(rest), drafts(apart), target)
        return await fit_reviewer(*given, embed=embed, embedder=embedder, data={}, work=work, out=work / "head")

    async def asked(model: str) -> dict[str, str]:
        judge = reviewer(ModelSet({"slm": ModelConfig(use=f"embedded:{model}", timeout_s=600)}))
        return _passing(sample, [await judge(draft.request, draft.text) for draft in sample])

    async def measured() -> dict[str, Any]:
        chance = [await head.proper(draft.text) for draft in held]
        truth = np.array([draft.proper for draft in held])
        with tempfile.TemporaryDirectory() as work:
            cards = [await without(sources[at::LEFT_OUT], Path(work) / str(at)) for at in range(LEFT_OUT)]
        return {
            "rows": {part: len(part_rows) for part, part_rows in rows.items()},
            "sources": len(sources),
            "auroc": auroc(np.array(chance), truth),
            "bound": card["threshold"]["bound"],
            "head": _passing(held, [one > head.threshold for one in chance]),
            "sample": {
                "the fitted head": _passing(sample, [await head(draft.request, draft.text) for draft in sample]),
                **{model: await asked(model) for model in REVIEWING},
            },
            "left_out": {
                "head": [one["metrics"]["auroc"] for one in cards],
                **{name: [one["baselines"][name] for one in cards] for name in card["baselines"]},
            },
        }

    return asyncio.run(measured())


REVIEW = """
Drafts of 22 desks (a clinic, a bank, a shop, …) in the voices of their writers: for each of ten requests two proper
drafts, and two with one sentence of the same length changed so that it breaks policy, tone or confidence. They were
written for this by one author, and half are improper, as no workflow's drafts are; refit on people's verdicts. The
shipped head was fitted on 12 desks and its threshold proved on six others; the first table is on the four that remain.
The small models are asked as `engine: generate` asks them, on a sample of these. In the last table the head and models
that see something shallow of a draft are fitted without a seventh of the desks, and measured on those: mean, and range.
"""


def review_tables(found: dict[str, Any]) -> list[results.Table]:
    def row(what: str, passed: dict[str, str]) -> tuple[str, ...]:
        return what, *(passed[kind] for kind in KINDS)

    def span(values: Sequence[float]) -> tuple[str, str]:
        return f"{statistics.mean(values):.3f}", f"{min(values):.3f} to {max(values):.3f}"

    return [
        results.table(
            ("passed, of four desks' drafts", *KINDS, "AUROC", "bound on improper ones"),
            (*row("the fitted head", found["head"]), f"{found['auroc']:.3f}", f"{found['bound']:.1%}"),
        ),
        results.table(
            ("passed, of a sample", *KINDS), *(row(name, passed) for name, passed in found["sample"].items())
        ),
        results.table(
            ("desks left out", "AUROC", "range"), *((name, *span(values)) for name, values in found["left_out"].items())
        ),
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


def _flagged(name: str, subjects: list[Subject]) -> int:
    check = _check(name)
    return sum(isinstance(verdict := check(subject), Verdict) and not verdict.passed for subject in subjects)


def main() -> None:
    if sys.argv[1:2] == ["fit"]:
        print(json.dumps(fit(Path(sys.argv[2])), indent=2))
        return
    parts: dict[str, tuple[Callable[[], Any], str, str, str, Callable[[Any], list[results.Table]]]] = {
        "grounded": (grounded, "grounded", "The guard grounded, by language", GROUNDED, grounded_tables),
        "pii": (engines, "pii_engines", "The engines of the guard pii", ABOUT_ENGINES, engine_tables),
        "injection": (
            lambda: injection(Path(sys.argv[2])), "injection", "The guard injection", INJECTION, injection_tables,
        ),
        "review": (review, "review", "The reviewers of drafts", REVIEW, review_tables),
    }  # fmt: skip
    if sys.argv[1:] and sys.argv[1] in parts:
        measured, name, title, about, tabulated = parts[sys.argv[1]]
        found = measured()
        print(json.dumps(found, indent=2))
        if "--record" in sys.argv:
            results.record(name, title, about, tabulated(found))
        return
    ordinary = [Subject(row["text"], "request") for name in ("clinc150/val", "it_tickets/tune") for row in _read(name)]
    result: dict[str, Any] = {
        "pii": measure(_check("pii", entities=PATTERN_ENTITIES), load_rows(DATA / "guards" / "pii_dev.jsonl.gz")),
        "pii_forms": {part: measure(_check("pii"), _forms(part)) for part in ("in_view", "apart")},
        "names": _names(),
        "milliseconds_per_1000_characters": pattern_time(),
        "guardrails": set_overhead(),
        "flagged_ordinary_requests": {
            "rows": len(ordinary),
            **{name: _flagged(name, ordinary) for name in ("pii", "secrets")},
        },
    }
    for name in ("grounded", "secrets", "tone"):
        result[name] = measure(_check(name), load_rows(CASES / f"{name}_cases.jsonl", stage="output"))
    print(json.dumps(result, indent=2))
    if "--record" in sys.argv:
        results.record("guards", "Guards", ABOUT, tables(result))


ABOUT = """
Public development parts (`../shared/data`) and labelled cases of our own (`tests/policies/guards/*.jsonl`). The own
cases of secrets, grounded and tone were at hand while the patterns were written, so they are regression tests rather
than estimates. The generated forms of personal data come from two lists of sentences: one in view while the recognisers
were written, one written afterwards, on which they first had recall .966 at precision .978. What that showed is mended,
so both are regression tests now. Names need the model `en-core-web-md`; its cues were written in view of the
development rows, the own requests when the method was done.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
    names, ordinary = found["names"], found["flagged_ordinary_requests"]
    rows = found["pii"]["rows"]

    def row(what: str, rows: Any, recall: float, precision: float | None, false: float | None) -> tuple[Any, ...]:
        share = "" if precision is None else f"{precision:.3f}"
        return what, rows, f"{recall:.3f}", share, "" if false is None else f"{false:.1%}"

    def whole(what: str, one: dict[str, Any]) -> tuple[Any, ...]:
        return row(what, one["rows"], one["recall"], one["precision"], one["false_positive_rate"])

    def spans(what: str, one: dict[str, Any]) -> tuple[Any, ...]:
        return row(what, f"{one['labelled']} spans", one["recall"], one["precision"], None)

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
        whole("secrets, own cases", found["secrets"]),
        whole("grounded, own cases", found["grounded"]),
        whole("tone, own cases", found["tone"]),
    )
    flagged = results.table(
        ("ordinary requests", "flagged"),
        *((f"{name}, {ordinary['rows']:,} of CLINC150 and IT tickets", ordinary[name]) for name in ("pii", "secrets")),
    )
    times = found["milliseconds_per_1000_characters"]
    taken = results.table(
        ("time", "ms"),
        ("pii, 1,000 characters", f"{times['pii']:.1f}"),
        ("every pattern guard, 1,000 characters", f"{times['all']:.1f}"),
        ("names by the model, a request", f"{names['own']['ms_p50']:.0f}"),
        ("what guardrails-ai adds to a node's guards", f"{found['guardrails']['added_ms_p50']:.1f}"),
    )
    return [accuracy, flagged, taken]


if __name__ == "__main__":
    main()
