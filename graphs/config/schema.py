"""The JSON Schema of workflow files, from the models that validate them, with the settings of every node kind."""

import re
from typing import Any

from sluicegate.graphs.config.models import COMMON_NODE_KEYS, WorkflowConfig, guard_names
from sluicegate.graphs.config.references import not_for
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.registry import kinds
from sluicegate.nodes.tools.registry import tools

__all__ = ["tidy", "workflow_schema"]

_PARTIAL = ("models", "intents", "indexes", "nodes")
"""Maps whose entries may be partial in an overlay: its base has the rest."""

_NULL = {"type": "null"}


def workflow_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. With `extends`, nothing is required."""
    schema = WorkflowConfig.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    common = definitions.pop("NodeConfig")["properties"]
    variants = {kind.name: _variant(kind, common, definitions) for kind in kinds().values()}
    definitions["Node"] = {
        "description": "One step of the workflow: its kind, the kind's settings, and the next node.",
        "type": "object",
        "required": ["kind"],
        "properties": {**common, "kind": {"enum": list(variants), "description": common["kind"]["description"]}},
        # one error for the intended kind, not one for each existing kind
        "allOf": [
            {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": variant}
            for name, variant in variants.items()
        ],
    }
    nodes = schema["properties"]["nodes"]
    nodes["patternProperties"] = {pattern: {"$ref": "#/$defs/Node"} for pattern in nodes["patternProperties"]}
    required = schema.pop("required")
    _name_choices(schema)
    whole = tidy(schema.pop("properties"))
    for part in whole.values():
        _describe(part, definitions)
    for block in definitions.values():
        for part in block.get("properties", {}).values():
            _describe(part, definitions)
    varied = {
        key: {"type": ["object", "null"]} if key in _PARTIAL else {"anyOf": [part, _NULL]}
        for key, part in whole.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluicegate workflow",
        **tidy(schema),
        "properties": {key: {"description": part["description"]} for key, part in whole.items()},
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required, "properties": whole},
        "else": {"properties": varied},
    }


def _describe(part: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Add descriptions where pydantic leaves them to the block's own."""
    if "$ref" in part and "description" not in part:
        part["description"] = tidy(definitions[part["$ref"].rpartition("/")[2]])["description"]


def _variant(kind: NodeKind, common: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = kind.settings.model_json_schema(by_alias=True)
    definitions.update(own.pop("$defs", {}))
    then = {} if "ends" in kind.effects or kind.fork else {"then": common["then"]}
    shared = [key for key in COMMON_NODE_KEYS if key not in ("kind", "then", *not_for(kind))]
    return {
        "description": kind.doc,
        "properties": {
            "kind": {"const": kind.name},
            **own.get("properties", {}),
            **{key: common[key] for key in shared if key not in own.get("properties", {})},
            **then,
        },
        "required": ["kind", *own.get("required", []), *then],
        "additionalProperties": False,
    }


def _name_choices(schema: dict[str, Any]) -> None:
    """Editors suggest the installed guards and tools, and accept any other name."""
    for variant in schema["$defs"]["Node"]["allOf"]:
        properties = variant["then"]["properties"]
        if "guards" in properties:
            properties["guards"]["items"] = _open(guard_names())
        if "tool" in properties:
            properties["tool"] = {**properties["tool"], "examples": list(tools())}


def _open(names: tuple[str, ...]) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def tidy(value: Any) -> Any:
    """Without generated titles, and with descriptions as plain text on one line."""
    if isinstance(value, list):
        return [tidy(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, part in value.items():  # pyright: ignore[reportUnknownVariableType]
        # a block's defaults are listed with its own fields
        if (key == "title" and isinstance(part, str)) or (
            key == "default" and (part is None or isinstance(part, dict))
        ):
            continue
        if key == "description" and isinstance(part, str):
            found[key] = re.sub(r"\s+", " ", part.replace("``", "`")).strip()
        else:
            found[str(key)] = tidy(part)  # pyright: ignore[reportUnknownArgumentType]
    return found
