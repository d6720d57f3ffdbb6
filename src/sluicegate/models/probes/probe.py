"""Small labelled probes of what a model must do in a workflow, and how well it does it.

Four tasks, at least 20 rows each, in ``probes/*.jsonl``: decode one label, extract fields to JSON, review a claim
against a source with yes or no, answer from a source. They tell a model that can serve a role from one that cannot;
they do not rank good models. A fifth file, ``letters.jsonl``, calibrates label decoding.
"""

import hashlib
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from typing import Any

from sluicegate.errors import UnusableAnswerError
from sluicegate.learning.letters import CONTENT_FREE, fitted, letter_probabilities, mean, question
from sluicegate.models.probes.probe_results import Result
from sluicegate.models.provider import Provider
from sluicegate.models.structured import ask_structured
from sluicegate.models.thinking import answered
from sluicegate.services import LabelScale, Message, ModelRequest, ProbeTask

__all__ = ["TASKS", "interval", "label_scale", "probe", "rows_of"]


@dataclass(frozen=True, slots=True)
class ProbeQuestion:
    """One row of a probe, and how to tell whether the answer is right."""

    request: ModelRequest
    right: Callable[[str, Any], bool]
    """Judges the answer's text and, with a schema, its value."""


def rows_of(task: ProbeTask) -> list[dict[str, Any]]:
    """The rows of a task's probe."""
    return [json.loads(line) for line in _text(task).splitlines()]


async def probe(
    provider: Provider,
    task: ProbeTask,
    *,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run a probe's rows on a model. An answer that does not fit its schema is wrong; any other failure is raised."""
    rows = rows_of(task)[:limit]
    right = 0
    times: list[float] = []
    for number, row in enumerate(rows, 1):
        question = TASKS[task](row)
        started = time.perf_counter()
        right += await _is_right(provider, question)
        times.append((time.perf_counter() - started) * 1000)
        if on_progress:
            on_progress(number, len(rows))
    digest = hashlib.sha256(_text(task).encode()).hexdigest()
    return Result(task, right, len(rows), statistics.median(times), digest, datetime.now(UTC).isoformat())


async def label_scale(provider: Provider, on_progress: Callable[[int, int], None] | None = None) -> LabelScale | None:
    """How much a model's letters tell in label decoding, from labelled requests of eight domains.

    None for a model that gives no token probabilities, or no letter.
    """
    chat = partial(answered, provider.chat)
    rows = [json.loads(line) for line in _text("letters").splitlines()]
    sets = list(dict.fromkeys(tuple(row["labels"]) for row in rows))
    asked = [(text, labels) for labels in sets for text in CONTENT_FREE]
    asked += [(row["text"], tuple(row["labels"])) for row in rows]
    said: list[list[float]] = []
    for text, labels in asked:
        try:
            response, value = await ask_structured(chat, question("probed", text, labels, {}))
        except UnusableAnswerError:
            return None
        said.append(letter_probabilities(response.logprobs, value, len(labels)))
        if not said[-1]:
            return None
        if on_progress:
            on_progress(len(said), len(asked))
    size = len(CONTENT_FREE)
    priors = {labels: mean(said[at * size : (at + 1) * size]) for at, labels in enumerate(sets)}
    told = zip(rows, said[len(sets) * size :], strict=True)
    return fitted([(found, priors[tuple(row["labels"])], row["labels"].index(row["label"])) for row, found in told])


def interval(right: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    if not rows:
        return 0.0, 1.0
    share = right / rows
    scale = 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


async def _is_right(provider: Provider, question: ProbeQuestion) -> bool:
    chat = partial(answered, provider.chat)
    if question.request.schema is None:
        return question.right((await chat(question.request)).text, None)
    try:
        answer, value = await ask_structured(chat, question.request)
    except UnusableAnswerError:
        return False
    return question.right(answer.text, value)


def _text(task: str) -> str:
    return (files("sluicegate.models.probes") / f"{task}.jsonl").read_text(encoding="utf-8")


def _asked(system: str, user: str, max_tokens: int, schema: Mapping[str, Any] | None) -> ModelRequest:
    return ModelRequest("probed", (Message("system", system), Message("user", user)), max_tokens, schema=schema)


def _choice(name: str, choices: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"enum": choices}}, "required": [name]}


def _label(row: Mapping[str, Any]) -> ProbeQuestion:
    labels: list[str] = row["labels"]
    system = f'Choose the one label that fits the request: {", ".join(labels)}. Answer as {{"label": "..."}}.'
    request = _asked(system, f"Request: {row['text']}", 24, _choice("label", labels))
    return ProbeQuestion(request, lambda _text, value: value["label"] == row["label"])


def _extract(row: Mapping[str, Any]) -> ProbeQuestion:
    schema = {
        "type": "object",
        "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}, "room": {"type": "string"}},
        "required": ["item", "quantity", "room"],
    }
    system = 'Extract the fields of the order as JSON: {"item": "...", "quantity": 1, "room": "..."}.'
    request = _asked(system, row["text"], 60, schema)
    wanted: Mapping[str, Any] = row["value"]
    return ProbeQuestion(request, lambda _text, value: all(_same(value[key], each) for key, each in wanted.items()))


def _review(row: Mapping[str, Any]) -> ProbeQuestion:
    system = 'Does the source support the claim? Answer as {"supported": "yes"} or {"supported": "no"}.'
    user = f"Source: {row['source']}\nClaim: {row['claim']}"
    request = _asked(system, user, 16, _choice("supported", ["yes", "no"]))
    return ProbeQuestion(request, lambda _text, value: (value["supported"] == "yes") is row["supported"])


def _answer(row: Mapping[str, Any]) -> ProbeQuestion:
    system = "Answer the question in one short sentence, only from the source."
    request = _asked(system, f"Source: {row['source']}\nQuestion: {row['question']}", 40, None)
    accepted: list[str] = row["accepted"]
    return ProbeQuestion(request, lambda text, _value: any(_plain(each) in _plain(text) for each in accepted))


TASKS: dict[ProbeTask, Callable[[Mapping[str, Any]], ProbeQuestion]] = {
    "label": _label,
    "extract": _extract,
    "review": _review,
    "answer": _answer,
}
"""How each task's rows become a prompt."""


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        # "room 204" for "204" and "monitor" for "monitors" count as the same
        return _plain(str(found)).removeprefix("room ").rstrip("s") == _plain(wanted).rstrip("s")
    return found == wanted


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold().replace(".", " ").replace(",", " ")).strip()
