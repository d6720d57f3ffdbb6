"""`extract`: extract fields from the request as JSON that fits a schema, with the small model.

The model proposes, the request decides: a value that the request does not state, by the rule of its field, is left out
and counts as missing (`nodes.extraction.stated`).
"""

import json
from collections.abc import Iterator
from typing import Any, Literal, cast

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.budget.call_bounds import CallBound, PromptSizes, sent_back
from sluicegate.nodes.extraction.stated import RequestText, received_on, stated
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.prompts import fill
from sluicegate.nodes.writing.generation import ask
from sluicegate.services import Completion, ModelRequest, Services
from sluicegate.state import Extraction, State, question

__all__ = ["EXTRACT", "Extract"]


class Extract(Settings):
    prompt: str
    """The prompt's id. It gets `question` and `fields`, the names and meanings of the wanted fields."""
    fields: dict[str, Any] | None = None
    """JSON Schema of the object to extract; by default the arguments of the intent's tool."""
    values: dict[str, Literal["stated", "reworded", "derived"] | dict[str, list[str]]] = Field(
        default_factory=dict[str, Literal["stated", "reworded", "derived"] | dict[str, list[str]]]
    )
    """How the value of a field may follow from the request. By default it must be `stated`: stand there, in whatever
    format. `reworded`: at least half of its words stand there, and every number. `derived`: the model decides, as on a
    category. Or words for each value: `{high: [urgent, cannot work]}`."""
    model: str = "slm"
    """The role of the model that extracts."""
    max_tokens: int = Field(default=200, ge=1)
    """Maximum output tokens."""


def _make(name: str, settings: Extract) -> Node:
    del name

    async def extract(state: State, services: Services) -> dict[str, Any]:
        intent = state.get("intent")
        schema = settings.fields or services.tools.schema(intent["tool"] if intent else "")
        facts = services.workflow.intents.get(intent["label"]) if intent else None
        asked = question(state)
        given = {name: _filled(value, asked) for name, value in facts.fields.items()} if facts else {}
        schema = _without(schema, given)
        properties: dict[str, dict[str, Any]] = schema.get("properties", {})
        wanted = "\n".join(f"- {name}: {about.get('description', '')}" for name, about in properties.items())
        prompt = services.prompts.render(settings.prompt, question=asked, fields=wanted)
        # what fails the schema twice is not an extraction; the workflow branches on `complete`
        completion = await ask(
            services,
            ModelRequest(
                settings.model, prompt.messages, settings.max_tokens, schema=schema, logprobs=1,
                prompt=prompt.reference, prompt_hash=prompt.hash,
            ),
        )  # fmt: skip
        return {"extraction": _found(completion, schema, given, settings, state)}

    return extract


def _filled(value: Any, question: str) -> Any:
    return fill(value, {"question": question}) if isinstance(value, str) else value


def _without(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The schema of the fields still to be extracted."""
    properties = {name: about for name, about in schema.get("properties", {}).items() if name not in given}
    required = [name for name in schema.get("required", []) if name not in given]
    return {**schema, "properties": properties, "required": required}


def _found(
    completion: Completion | None, schema: dict[str, Any], given: dict[str, Any], settings: Extract, state: State
) -> Extraction:
    parsed: Any = completion.parsed if completion else None
    proposed = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    request = RequestText(question(state), received_on(state["request"]["received_at"]))
    fields, dropped = stated(proposed, schema, request, settings.values)
    # what the request states, and what was given already
    found = {**fields, **given} if proposed else {}
    required: list[str] = schema.get("required", [])
    unsaid = dict.fromkeys(path.partition(".")[0] for path in dropped)
    missing = dict.fromkeys([*(field for field in required if fields.get(field) in (None, "", [])), *unsaid])
    extraction: Extraction = {
        "fields": found,
        "missing": [*missing],
        "complete": bool(found) and not missing,
        "confidence": completion.mean_probability if completion else 0.0,
    }
    if dropped:
        extraction["dropped"] = [f"{path}: {reason}" for path, reason in dropped.items()]
    return extraction


def _calls(settings: Extract, sizes: PromptSizes) -> Iterator[CallBound]:
    schema = json.dumps(settings.fields) if settings.fields else max(sizes.schemas().values(), key=len, default="")
    yield sent_back(settings.model, sizes.prompt(settings.prompt, fields=schema), settings.max_tokens)


EXTRACT = NodeKind(
    name="extract",
    doc="Extract fields from the request as JSON that fits a schema.",
    settings=Extract,
    make=_make,
    writes=frozenset({"extraction", "spend"}),
    reads=frozenset(),
    effects=frozenset({"generates"}),
    fills=frozenset({"question", "fields"}),
    tells=("extraction.dropped",),
    calls=_calls,
    observation="chain",
)
