"""`extract`: extract fields from the request as JSON that fits a schema, with the small model."""

from typing import Any, cast

from pydantic import Field

from sluicegate.errors import ModelError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.prompts import fill
from sluicegate.nodes.writing.generation import ask, unusable
from sluicegate.services import Completion, ModelRequest, Services
from sluicegate.state import Extraction, State

__all__ = ["EXTRACT", "Extract"]


class Extract(Settings):
    prompt: str
    """The prompt's id. It gets `question` and `fields`, the names and meanings of the wanted fields."""
    fields: dict[str, Any] | None = None
    """JSON Schema of the object to extract; by default the arguments of the intent's tool."""
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
        question = state["request"]["text"]
        given = {name: _filled(value, question) for name, value in facts.fields.items()} if facts else {}
        schema = _without(schema, given)
        properties: dict[str, dict[str, Any]] = schema.get("properties", {})
        wanted = "\n".join(f"- {name}: {about.get('description', '')}" for name, about in properties.items())
        prompt = services.prompts.render(settings.prompt, question=question, fields=wanted)
        try:
            completion = await ask(
                services,
                ModelRequest(
                    settings.model, prompt.messages, settings.max_tokens, schema=schema, logprobs=1,
                    prompt=prompt.reference, prompt_hash=prompt.hash,
                ),
            )  # fmt: skip
        except ModelError as error:
            if not unusable(error):
                raise
            # what fails the schema twice is not an extraction; the workflow branches on `complete`
            return {"extraction": _found(None, schema, given)}
        return {"extraction": _found(completion, schema, given)}

    return extract


def _filled(value: Any, question: str) -> Any:
    return fill(value, {"question": question}) if isinstance(value, str) else value


def _without(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The schema of the fields still to be extracted."""
    properties = {name: about for name, about in schema.get("properties", {}).items() if name not in given}
    required = [name for name in schema.get("required", []) if name not in given]
    return {**schema, "properties": properties, "required": required}


def _found(completion: Completion | None, schema: dict[str, Any], given: dict[str, Any]) -> Extraction:
    parsed: Any = completion.parsed if completion else None
    fields = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    # what the model extracted, and what was given already
    found = {**fields, **given} if fields else {}
    required: list[str] = schema.get("required", [])
    missing = [field for field in required if fields.get(field) in (None, "", [])]
    return {
        "fields": found,
        "missing": missing,
        "complete": bool(found) and not missing,
        "confidence": completion.mean_probability if completion else 0.0,
    }


EXTRACT = NodeKind(
    name="extract",
    doc="Extract fields from the request as JSON that fits a schema.",
    settings=Extract,
    make=_make,
    writes=frozenset({"extraction", "spend"}),
    effects=frozenset({"generates"}),
    fills=frozenset({"question", "fields"}),
    observation="chain",
)
