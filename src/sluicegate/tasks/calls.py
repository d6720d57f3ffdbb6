"""The tasks themselves: one governed question to a small model each, its answer validated."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError

from sluicegate.errors import ModelError, UnusableAnswerError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.structured import misfit
from sluicegate.nodes.extraction.stated import RequestText, Rule, stated
from sluicegate.nodes.tagging import nearness, tagged
from sluicegate.nodes.writing.generation import unusable
from sluicegate.services import Completion, EmbeddingRequest, Message, ModelRequest, ModelStep

__all__ = ["TaskResult", "check", "classify", "default_models", "extract", "opened_router", "route", "summarise", "tag"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_NO_RULES: Mapping[str, Rule] = {}


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[T]):
    """What a task came to."""

    value: T
    confidence: float
    """In [0, 1]. `route`: the router's calibrated one. `classify`, `check`, `tag`: how far the choice stands out. Else
    the geometric mean of the answer's token probabilities; 0 when the model gives none. Only `route`'s is a promise."""
    model: str
    """What really answered, as ``provider:model``; for `route` the strategy that decided."""
    attempts: int = 1
    """Answers it took until one was valid."""
    ms: float = 0.0


def default_models(model: str = "") -> ModelSet:
    """`model` alone, or a small model of a local Ollama server and the embedded one where there is none."""
    slm = ModelConfig(use=model) if model else _config("ollama:qwen3:1.7b", "embedded:smollm2-135m")
    return ModelSet({"slm": slm, "embedder": _config("ollama:all-minilm", "embedded:all-minilm-l6-v2")})


async def classify(
    text: str,
    labels: Sequence[str] | Mapping[str, str],
    *,
    by: Literal["meaning", "decoding"] = "meaning",
    models: ModelSet | None = None,
) -> TaskResult[str]:
    """The one label that fits; a mapping gives each label's description. Raises `ModelError`.

    ``meaning`` compares embeddings, which a very small model's decoding does not reach; ``decoding`` lets the text
    model choose, for larger ones. Neither confidence is calibrated: for that, fit a router and `route`.
    """
    models, started = models or default_models(), time.perf_counter()
    describe = dict(labels) if isinstance(labels, Mapping) else {}
    if by == "meaning":
        near, model = await nearness(models, "embedder", text, [describe.get(label, label) for label in labels])
        weights = [math.exp(similarity / _WIDTH) for similarity in near]
        scores = {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}
    else:
        from sluicegate.routing.intent.slm import LabelDecoder

        naming = _Naming(models)
        scores = await LabelDecoder(naming, "slm", describe).decode(text, list(labels))
        model = naming.seen
    best = max(scores, key=lambda label: scores[label])
    return TaskResult(best, scores[best], model, ms=_since(started))


@overload
async def extract(
    text: str,
    schema: Mapping[str, Any],
    *,
    values: Mapping[str, Rule] = ...,
    models: ModelSet | None = None,
    retries: int = 1,
    max_tokens: int = 200,
) -> TaskResult[dict[str, Any]]: ...
@overload
async def extract(
    text: str,
    schema: type[M],
    *,
    values: Mapping[str, Rule] = ...,
    models: ModelSet | None = None,
    retries: int = 1,
    max_tokens: int = 200,
) -> TaskResult[M]: ...
async def extract(
    text: str,
    schema: Mapping[str, Any] | type[BaseModel],
    *,
    values: Mapping[str, Rule] = _NO_RULES,
    models: ModelSet | None = None,
    retries: int = 1,
    max_tokens: int = 200,
) -> TaskResult[Any]:
    """An object that fits a JSON Schema or a pydantic model, of what `text` states.

    A value that the text does not state, by the rule that `values` has for its field, is left out, as the kind
    `extract` does; by default it must stand there. What then does not fit is asked for again, with the error. Raises
    `ModelError` SG305 when nothing fits in the end, also where the text does not state a required field.
    """
    kind = schema if isinstance(schema, type) else None
    form: dict[str, Any] = schema.model_json_schema() if isinstance(schema, type) else dict(schema)
    properties: dict[str, dict[str, Any]] = form.get("properties", {})
    names = ", ".join(
        f"{name} ({about['description']})" if about.get("description") else name for name, about in properties.items()
    )
    asked = [*_WORKED, Message("user", f"Fields: {names}\nText: {text}")]
    request = RequestText(text, datetime.now().astimezone().date())

    def fitting(parsed: Any) -> Any:
        proposed = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
        fields, dropped = stated(proposed, form, request, values)
        if wrong := misfit(fields, form) if dropped else "":
            unsaid = "; ".join(f"{path}: {reason}" for path, reason in dropped.items())
            raise ValueError(f"{wrong} ({unsaid})")
        return kind.model_validate(fields) if kind else fields

    return await _structured(models, asked, form, fitting, retries, max_tokens)


async def tag(
    text: str,
    tags: Sequence[str] | Mapping[str, str],
    *,
    limits: Mapping[str, float] | None = None,
    models: ModelSet | None = None,
    most: int = 3,
) -> TaskResult[list[str]]:
    """Up to `most` of `tags` whose meaning is near the text's, nearest first, possibly none. Raises `ModelError`.

    A mapping gives each tag's words, `limits` the similarity from which a tag fits; the kind `tag` finds the same.
    """
    models, started = models or default_models(), time.perf_counter()
    words = dict(tags) if isinstance(tags, Mapping) else {name: name for name in tags}
    made = await tagged(models, "embedder", text, words, limits=limits, most=most)
    doubt = min((abs(made.scores[name] - made.limits[name]) for name in words), default=0.0)
    sure = 1 / (1 + math.exp(-doubt / _WIDTH))
    return TaskResult(made.found, sure, made.model, ms=_since(started))


async def summarise(text: str, *, models: ModelSet | None = None, max_tokens: int = 100) -> TaskResult[str]:
    """`text` in a sentence or two. Raises `ModelError`."""
    models, started = models or default_models(), time.perf_counter()
    messages = [
        Message("system", "Put the text short, in one sentence. Use only what the text says."),
        Message("user", _NOTES),
        Message("assistant", _SHORT),
        Message("user", text),
    ]
    said = await models.chat(ModelRequest("slm", messages, max_tokens, logprobs=1))
    return TaskResult(said.text.strip(), said.mean_probability, said.model, ms=_since(started))


async def route(text: str, router: Path, *, otherwise: str = "", models: ModelSet | None = None) -> TaskResult[str]:
    """The label of a fitted router, or `otherwise` where its confidence is below the threshold it was fitted with.

    `router` is an artifact's folder, written by `sluicegate router fit`. Raises `ModelError` SG310 to SG312.
    """
    return await opened_router(router, otherwise=otherwise, models=models)(text)


def opened_router(
    router: Path, *, otherwise: str = "", models: ModelSet | None = None
) -> Callable[[str], Awaitable[TaskResult[str]]]:
    """`route` for many texts: the artifact is read once. Raises as it does."""
    from sluicegate.routing.intent.artifact import read_artifact
    from sluicegate.routing.intent.router import FittedRouter

    own, artifact = models or default_models(), read_artifact(router)
    embedder: dict[str, str] | None = artifact.card.get("embedder")

    async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        fingerprint = embedder["fingerprint"] if embedder else None
        return (await own.embed(EmbeddingRequest("embedder", texts, like=fingerprint))).vectors

    fitted = FittedRouter(artifact, embed=embed if embedder else None)

    async def routed(text: str) -> TaskResult[str]:
        started = time.perf_counter()
        said = await fitted.classify(text)
        label = said.label if said.confidence >= said.threshold else otherwise
        return TaskResult(label, said.confidence, said.by, ms=_since(started))

    return routed


async def check(text: str, source: str, *, models: ModelSet | None = None) -> TaskResult[bool]:
    """Whether `source` says what `text` says, in the small model's opinion. Raises `ModelError`.

    The guards (`sluicegate guard`) look for other faults: personal data, secrets, tone.
    """
    said = await classify(
        f"Source: {source}\nClaim: {text}",
        {"yes": "the source supports the claim", "no": "the source does not support the claim"},
        by="decoding",
        models=models,
    )
    return TaskResult(said.value == "yes", said.confidence, said.model, ms=said.ms)


_WIDTH = 0.05
"""Cosine similarity that makes one label e times as likely as another."""

_WORKED = (
    Message("system", "Extract the fields from the text as JSON. Use the words of the text."),
    Message("user", "Fields: guest, nights, hotel\nText: Book the hotel Astoria for Maria, two nights."),
    Message("assistant", '{"guest": "Maria", "nights": 2, "hotel": "Astoria"}'),
    Message("user", "Fields: colour, size, article\nText: I'd like 5 blue shirts in size L."),
    Message("assistant", '{"colour": "blue", "size": "L", "article": "shirts"}'),
)
"""Worked examples: without them a very small model answers with the fields' names."""

_NOTES = (
    "10:05 lift in building 3 stopped between two floors. 10:20 technician called. 11:10 door opened, nobody was hurt, "
    "lift locked until the check on Friday."
)
_SHORT = (
    "The lift in building 3 stopped at 10:05; the door was opened at 11:10, nobody was hurt, and the lift stays locked "
    "until the check on Friday."
)


async def _structured(
    models: ModelSet | None,
    asked: Sequence[Message],
    schema: Mapping[str, Any],
    fitting: Callable[[Any], Any],
    retries: int,
    max_tokens: int,
) -> TaskResult[Any]:
    """`models` holds an answer to the schema and asks once more by itself; here to what only `fitting` can say, which
    makes the value of it or raises `ValueError`."""
    models, started = models or default_models(), time.perf_counter()
    messages = list(asked)
    wrong = ""
    for attempt in range(1, retries + 2):
        try:
            said = await models.chat(ModelRequest("slm", messages, max_tokens, schema=schema, logprobs=1))
        except ModelError as error:
            if not unusable(error) or attempt > retries:
                raise
            continue
        try:
            value = fitting(said.parsed)
        except ValueError as error:
            wrong = _wrong(error)
            messages += [
                Message("assistant", said.text),
                Message("user", f"That answer cannot be used: {wrong}. Answer again, with JSON that fits."),
            ]
            continue
        return TaskResult(value, said.mean_probability, said.model, attempt, _since(started))
    raise UnusableAnswerError(f"no valid answer after {retries + 1} attempts: {wrong or 'none fits the schema'}")


def _wrong(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


class _Naming(ModelStep):
    """The models, noting what answered."""

    seen = ""

    async def chat(self, request: ModelRequest) -> Completion:
        said = await super().chat(request)
        self.seen = said.model
        return said


def _config(use: str, *otherwise: str) -> ModelConfig:
    return ModelConfig(use=use, otherwise=otherwise)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
