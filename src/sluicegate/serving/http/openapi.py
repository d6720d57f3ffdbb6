"""The OpenAPI document, made of the operations and their models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sluicegate import __version__
from sluicegate.serving.http import messages
from sluicegate.serving.http.calls import Operation
from sluicegate.serving.http.problems import MEDIA_TYPE

__all__ = ["document"]

_EVENT = {
    "type": "object",
    "description": "One event of the stream; its data is JSON, but for OpenAI's [DONE].",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


def document(operations: Sequence[Operation], purposes: Mapping[str, str]) -> dict[str, Any]:
    """OpenAPI 3.1, for workflows by their names, with what each is for."""
    taken: set[type[BaseModel]] = {each.takes for each in operations if each.takes}
    given: set[type[BaseModel]] = (
        {each.gives for each in operations} | {each.error for each in operations} | {messages.StepDone}
    )
    models = sorted(taken, key=lambda model: model.__name__), sorted(given, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [*((model, "validation") for model in models[0]), *((model, "serialization") for model in models[1])],
        ref_template="#/components/schemas/{model}",
    )
    for model in taken:
        _choose(schemas["$defs"][model.__name__]["properties"], [*purposes])
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, [*purposes])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Sluicegate: {', '.join(purposes)}",
            "version": __version__,
            "description": "\n".join(f"- `{name}`: {purpose}" for name, purpose in purposes.items()),
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _choose(properties: dict[str, Any], served: Sequence[str]) -> None:
    """Where a request names a workflow, it is one of those that are served; none, where it may be left out."""
    if "workflow" in properties:
        properties["workflow"]["enum"] = ["", *served]
    if "model" in properties:
        properties["model"]["enum"] = [*served]


def _operation(each: Operation, served: Sequence[str]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": "", "content": {"application/json": {"schema": _ref(each.gives)}}}
        for status in each.statuses
    }
    for response in responses.values():
        if each.links:
            response["links"] = {
                operation: {"operationId": operation, "parameters": {parameter: f"$response.body#/{value}"}}
                for operation, (parameter, value) in each.links.items()
            }
    if each.streams:
        responses["200"]["content"]["text/event-stream"] = {"schema": _EVENT}
    kind = MEDIA_TYPE if each.error is messages.Problem else "application/json"
    for status in each.problems:
        responses[str(status)] = {"description": "", "content": {kind: {"schema": _ref(each.error)}}}
    said: dict[str, Any] = {
        "operationId": each.id,
        "summary": each.summary,
        "tags": [_tag(each)],
        "responses": responses,
    }
    if each.signed_in:
        said["security"] = [{"token": []}]
    if named := re.findall(r"{(\w+)}", each.path):
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named
        ]
    if each.query:
        query = each.query.model_json_schema()
        _choose(query["properties"], served)
        said["parameters"] = [
            {
                "name": name, "in": "query", "required": name in query.get("required", ()),
                "description": schema.pop("description"), "schema": schema,
            }
            for name, schema in query["properties"].items()
        ]  # fmt: skip
    if each.takes:
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(each.takes)}}}
    return said


def _tag(each: Operation) -> str:
    if each.error is not messages.Problem:
        return "OpenAI's API"
    if not each.path.startswith("/v1/"):
        return "The server"
    return "Approvals" if each.path.startswith("/v1/approvals") else "Runs and conversations"


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
