"""The guard injection: what its model is fitted on, and what it flags of what it was not fitted on.

`benchmarks/guards.py fit` and `benchmarks/guards.py injection` call it; `harmless.py` has the texts of their folder.
"""

import hashlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import attacks, harmless, results
from benchmarks.labelled import CASES, DATA, LONG, cases, development
from sluicegate.policies.guards.injection.fit import FalsePositiveBound, TrainingRow, examples, figures, fit_model
from sluicegate.policies.guards.injection.injection import score, threshold
from sluicegate.policies.guards.injection.model import SHIPPED, read_model, write_model

__all__ = ["ABOUT", "fit", "measured", "tables", "varied"]

ROOT = Path(__file__).resolve().parents[1]
ORDINARY = {"clinc150/train": 1500, "it_tickets/train": 1500, "banking77/train": 1000}
"""Ordinary requests that the injection guard is fitted on, from each set."""
OWN = (
    "injection_cases",
    "injection_languages",
    "injection_own",
    "injection_later",
    "injection_documents",
    "injection_secrets",
)
"""Labelled cases that are fitted on; `injection_apart` never is."""
REQUESTS = ROOT / "tests" / "routing" / "requests_in_other_languages.jsonl"
UNSEEN_REQUESTS = ROOT.parent / "shared" / "cases" / "requests_by_language.jsonl"
SAYING = re.compile(r"i have been pwne?d", re.IGNORECASE)
GRANTED = re.compile(r"access granted", re.IGNORECASE)
DENIED = re.compile(r"access denied", re.IGNORECASE)
REFUSALS = ("no", "wrong word", "try again", "I cannot say that", "not today", "closed", "never", "sorry, no", "false")
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


def varied(row: TrainingRow) -> TrainingRow:
    """The row, with other sentences and secrets as the goal in three quarters of HackAPrompt's and Tensor Trust's.

    All of their attackers had to make a model say one sentence, or give one secret away, so a fit takes those words for
    what an attack is. Which ones come in their place depends on the text alone.
    """
    drawn = harmless.drawn(row.text)
    if not row.source.startswith(("HackAPrompt", "Tensor Trust")) or drawn % 4 == 0:
        return row
    if row.source.startswith("Tensor Trust"):
        text = GRANTED.sub(SAYINGS[drawn // 11 % len(SAYINGS)], row.text)
        return replace(row, text=DENIED.sub(REFUSALS[drawn // 7 % len(REFUSALS)], text))
    text = SAYING.sub(SAYINGS[drawn // 11 % len(SAYINGS)], row.text)
    return replace(row, text=SECRET.sub(SECRETS[drawn // 7 % len(SECRETS)], text))


def _examples(mail: Path) -> tuple[list[TrainingRow], dict[str, str]]:
    """Every row that the injection guard is fitted on, and the hashes of where they come from."""
    given = ("injection_train", "injection_open_dev", "injection_dev", "overrefusal_dev")
    files = [DATA / "guards" / f"{name}.jsonl.gz" for name in given]
    rows, digests = examples([*files, *(CASES / f"{name}.jsonl" for name in OWN)])
    # the unsafe requests of XSTest steer no model; it is here for what it calls safe
    unsafe = {row["text"] for row in development("guards/overrefusal_dev") if not row["safe"]}
    rows = [row for row in rows if row.text not in unsafe]
    rng = np.random.default_rng(7)
    for name, count in ORDINARY.items():
        texts = sorted({row["text"] for row in development(name)})
        rows += [
            TrainingRow(texts[at], attack=False, source=name, kind="benign")
            for at in rng.permutation(len(texts))[:count]
        ]
        digests[name] = hashlib.sha256((DATA / f"{name}.jsonl.gz").read_bytes()).hexdigest()
    added = {
        "requests in other languages": _requests(REQUESTS),
        "e-mails": harmless.mails(mail),
        "package descriptions": harmless.descriptions(apart=False),
        "handbook": harmless.handbook(mail),
        "Tensor Trust": attacks.trust(mail),
        "BIPIA's contexts": harmless.contexts(mail),
    }
    for name, texts in added.items():
        rows += texts
        digests[name] = hashlib.sha256("\0".join(row.text for row in texts).encode()).hexdigest()
    return list({row.text: row for row in map(varied, rows)}.values()), digests


def _requests(file: Path) -> list[TrainingRow]:
    """Requests to a helpdesk in many languages."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    source = "requests in other languages"
    return [TrainingRow(row["text"], False, source, "benign", row["language"]) for row in rows]


def fit(mail: Path) -> dict[str, Any]:
    """Fit the shipped model."""
    rows, digests = _examples(mail)
    model, unseen = fit_model(rows, target=FalsePositiveBound(0.013, long_error=0.03))
    card = {**model.card, "data": digests, "flagged": figures(rows, unseen, model.threshold)}
    write_model(SHIPPED, replace(model, card=card))
    return card


def measured(folder: Path) -> dict[str, Any]:
    """Rows that no fit has seen, and the card; `folder` also holds what `attacks.py` names."""
    own = cases("injection_apart")
    unseen: dict[str, tuple[bool, list[str]]] = {
        **{name: (True, texts) for name, texts in attacks.unseen(folder).items()},
        "own attacks, set apart": (True, [row["text"] for row in own if row["attack"]]),
        "own look-alikes, set apart": (False, [row["text"] for row in own if not row["attack"]]),
        "e-mails and newsletters, of a corpus that was fitted on": (
            False,
            _texts(harmless.mails(folder, apart=True)[::8]),
        ),
        "pages of a handbook, of which others were fitted on": (False, _texts(harmless.handbook(folder, apart=True))),
        "descriptions of other packages": (False, _texts(harmless.descriptions(apart=True))),
        "requests in other languages, of bug reports": (False, _texts(_requests(UNSEEN_REQUESTS))),
        "CLINC150, validation part": (False, [row["text"] for row in development("clinc150/val")[::3]]),
        "IT tickets, tuning part": (False, [row["text"] for row in development("it_tickets/tune")[::5]]),
    }
    limit = threshold()
    flagged = {
        name: {"attack": attack, "rows": len(texts), "flagged": sum(score(text) >= limit for text in texts)}
        for name, (attack, texts) in unseen.items()
    }
    return {"unseen": flagged, "card": dict(read_model(SHIPPED).card), "cpu_ms": _milliseconds()}


def _texts(rows: list[TrainingRow]) -> list[str]:
    return [row.text for row in rows]


def _milliseconds(characters: int = 1000) -> float:
    """Milliseconds of one core for a text of the given length, as the process counts them (least of twenty)."""
    text = (LONG * (characters // len(LONG) + 1))[:characters]
    times: list[float] = []
    for _ in range(20):
        start = time.process_time()
        score(text)
        times.append((time.process_time() - start) * 1000)
    return round(min(times), 3)


ABOUT = """
`unseen` are rows that the shipped model was not fitted on; the folder named in the command holds the e-mails and pages
of `benchmarks/harmless.py` and the attacks of `benchmarks/attacks.py`. Two thirds of the clusters of Tensor Trust were
fitted on, and nothing of the three sets after it; of promptmap, a third are plain questions that leave the subject.
What was set apart is of the author of the cases that were fitted on, so it shows less than an attacker's would.
SpamAssassin's mail is of 2002, much of it newsletters and mailing lists about software and security.

Figures by kind and source are of everything that is fitted on, each of fits that had not seen the row, at the threshold
of the shipped model. Where a source is left out, they had seen nothing of it: what to expect of attackers and authors
unlike those. Where it is known, they had seen it, but nothing of the row's cluster: no row that shares three tenths of
its runs of five words or, in the same source, six tenths of all runs of five characters. The attacks of HackAPrompt and
Tensor Trust have other goals there than in their sources (`varied`). The fifth of the harmless rows on which the
threshold is proved is of known sources and was fitted by nothing; short and long texts have a bound each.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
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
        ("fitted without the row", "rows", "flagged, its source known", "flagged, its source left out"),
        *(
            (f"{by}: {name}", f"{one['rows']:,}", f"{one['source_known']:.2%}", f"{one['flagged']:.2%}")
            for by in ("kind", "source")
            for name, one in card["flagged"][by].items()
            if one["rows"] >= 25
        ),
    )
    return [unseen, steering, results.table(("time", "ms of one core"), ("1,000 characters", f"{found['cpu_ms']:.1f}"))]
