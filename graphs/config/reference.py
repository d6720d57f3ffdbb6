"""The config reference in Markdown, from the models: what `docs/config.md` holds."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from sluicegate.errors import CODES
from sluicegate.graphs.conditions.fields import FieldType, fields
from sluicegate.graphs.config.models import COMMON_NODE_KEYS
from sluicegate.graphs.config.schema import workflow_schema
from sluicegate.graphs.proofs import BUILT_IN
from sluicegate.nodes.registry import kinds

__all__ = ["reference_page"]

_HEAD = """\
# Config reference

Generated from the models by `sluicegate schema --reference`; a test keeps it up to date. The same models give
`configs/workflow.schema.json`, which editors use when a file begins with

```yaml
# yaml-language-server: $schema=../workflow.schema.json
```

A workflow is one YAML document in UTF-8. Values are read as YAML 1.2 reads them; where older readers would read
something else (`on`, `no`, `010`, `12:30`, `1_000`, a date without quotes, `1.10` where text is expected), that is an
error that says what to write. Duplicate keys, merge keys (`<<`), tags and tabs for indentation are errors; anchors and
aliases may be used. A file has at most 1,000,000 bytes, 64 levels and 20,000 values, aliases expanded.
"""

_NODES = """\
Every node has `kind`; all but the ends and `parallel` have `then`; any may have `max_visits`. A node that neither
ends the run nor waits may also say what happens when it fails:
"""

_ROUTE = """\
There is no kind `route`: `classify` gives the fitted router's label and confidence, and the branches of the nodes after
it choose the way; without a fitted router, `tag` with `most: 1` chooses between ways by their descriptions.
"""

_LISTS = """\
What a `for-each` may go over, what is known of an item where, and how tables come with a request is in
[lists.md](lists.md), with a workflow to run.
"""

_FAN_OUT = """\
Under a cap of `budget`, `parallel` and `for-each` reserve what all their branches or items can cost before the first of
them begins; what has no room takes the branch that it has for a call that is not allowed
([governance.md](governance.md#budgets-before-branches-and-items)).
"""

_SUB_WORKFLOWS = """\
A `workflow` node runs another workflow, for the same requester:

```yaml
kyc:
  kind: workflow
  use: ../kyc/workflow.yaml
  give: {question: "'Identify: ' + request.text", name: extraction.fields.name}
  take: [answer, checks]
  then: [{when: "child.status == 'answered'", go: respond}, {otherwise: refuse}]
```

What it is given has the types that the child declares under `inputs`, here `inputs: {name: {type: string}}`. A name
that it does not take is an error (SG105), a missing one that is not optional too (SG106), and so is a value that cannot
be of its type (SG121). What is known only in a run, such as a field that a model extracts, is looked at there: where it
is missing or of another type, the node fails, and of what is optional only what is there is given. The guards of the
child's `policy-check` look at what it is given as at the request, and its cached answers are for that too. For whom and
on which channel it is asked is for its parent's caller to say: policies decide on both. Tables that came with the
request are given as lists: `papers: "request.attachments[0].rows"`.

The child is a run of its own, with its own models, policies, guards, knowledge and budgets. What it spends is spent by
its parent too, and both budgets and the kill switches of both must allow it. Its steps are in its parent's trace,
beneath the node, and its audit events name the parent. Of what `tracing` and `retention` say in both, the stricter
holds for the whole run: its trace and its checkpoints hold texts of the child. Where it waits for a person, its parent
waits. A child that fails fails the node, with its code, and is resumed where it stopped. It is loaded once, however
often it is used; its digest is part of its parent's. A file that is missing, a workflow that comes back to itself, one
within another of the same name, and more than 8 levels are errors (SG143). An answer that a child had a part in is not
cached.

"""

_CONDITIONS = """\
## Conditions

`when` holds a condition in [CEL](https://cel.dev): comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`), `&&`, `||`, `!`,
`in [...]`, `size(x)`, `x.startsWith('a')`, `x.contains('a')`, `list.exists(x, x.score > 0.5)`, the ternary `a ? b : c`.
Text stands in single quotes. A number with a decimal point is compared with such a number: `intent.confidence < 1.0`.

A branch is taken only when its condition is certainly true. A field that no node has written yet is unknown: `false &&
unknown` is false, `true || unknown` is true, anything else that touches it is unknown, and unknown is not true. So a
branch on `!checks.failed` is not taken before a check has run. A condition on a field that nothing before it writes is
an error (SG124); one on `policy.*`, `checks.*` or `approval.*` at a node that gives no such verdict of its own reads
what an earlier node left, and is a warning (SG126).

A node kind of an installed package declares what it writes under `extra`, with types. Each key is a field like the
others, such as `extra.urgent`; a key that no installed kind declares is an unknown field.

"""

_EXTENDS = """\
## Variants

`extends: ../helpdesk/workflow.yaml` lays a file over another: maps merge by key, texts, numbers and lists replace,
`null` removes. Errors point to the file that a value came from. Files that the config names (prompts, policies,
knowledge, examples, the router's artifact) are looked up in the variant's folder first, then in those of the files it
extends. Sub-workflows keep their own models: `use` names a variant of one. Variants that Sluicegate makes itself, of
`Session.fork(model=…)` and `eval --baselines`, are variants of the sub-workflows too.
"""


def reference_page() -> str:
    """The whole page."""
    schema = workflow_schema()
    definitions: Mapping[str, Any] = schema["$defs"]
    properties: Mapping[str, Any] = schema["then"]["properties"]
    parts = [_HEAD, "## The file\n", _table(properties, schema["then"]["required"])]
    shown = dict.fromkeys(_references(properties))
    for name in shown:
        if name != "Node" and "properties" in definitions[name]:
            parts += _section(name, definitions[name], "##")
            for inner in dict.fromkeys(_references(definitions[name]["properties"])):
                if inner not in shown and "properties" in definitions[inner]:
                    parts += _section(inner, definitions[inner], "###")
    common = {key: definitions["Node"]["properties"][key] for key in ("timeout", "retry", "on_error")}
    parts += ["## Node kinds\n", _NODES, _table(common, [])]
    parts += [*_section("Retry", definitions["Retry"], "###"), _ROUTE, _FAN_OUT, _LISTS, _SUB_WORKFLOWS]
    for variant in definitions["Node"]["allOf"]:
        parts += _kind(variant["then"], definitions)
    parts += [_CONDITIONS, _fields(), _guarantees(), _EXTENDS, _codes()]
    return "\n".join(parts)


def _section(name: str, definition: Mapping[str, Any], level: str) -> list[str]:
    about = definition.get("description", "")
    return [
        f"{level} {name}\n",
        *([f"{about}\n"] if about else []),
        _table(definition["properties"], definition.get("required", [])),
    ]


def _kind(variant: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    name = variant["properties"]["kind"]["const"]
    kind = kinds()[name]
    own = {
        key: value
        for key, value in variant["properties"].items()
        if key not in COMMON_NODE_KEYS or key in kind.settings.model_fields
    }
    does = ", ".join(f"`{effect}`" for effect in sorted(kind.effects)) or "nothing that guarantees speak of"
    writes = ", ".join(f"`{key}`" for key in sorted(kind.writes)) or "nothing"
    head = [f"### `{name}`\n", f"{kind.doc} Does: {does}. Writes: {writes}.\n"]
    if not own:
        return head
    inner = [_section(one, definitions[one], "####") for one in dict.fromkeys(_references(own))]
    return [*head, _table(own, variant["required"]), *(part for parts in inner for part in parts)]


def _table(properties: Mapping[str, Any], required: list[str]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, schema in properties.items():
        default = "required" if key in required else _default(schema)
        rows.append(f"| `{key}` | {_cell(_type(schema))} | {_cell(default)} | {_cell(schema.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None or value in ("", []) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "enum" in schema:
        return " ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            members = [_type(member) for member in schema[union] if member.get("type") != "null"]
            return " or ".join(dict.fromkeys(members))
    if "allOf" in schema:
        return " ".join(_type(member) for member in schema["allOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(_type({"type": one}) for one in cast("list[str]", kind))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict):
            return f"map of {_type(cast('dict[str, Any]', inner))}"
        patterns = cast("dict[str, Any]", schema.get("patternProperties", {}))
        return f"map of {_type(next(iter(patterns.values())))}" if patterns else "map"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(str(kind), "any") + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(found)}" if found else ""


def _link(reference: str) -> str:
    name = reference.rpartition("/")[2]
    return "[node](#node-kinds)" if name == "Node" else f"[{name}](#{name.lower()})"


def _references(value: Any) -> Iterator[str]:
    """Names of the definitions that a schema refers to, in order."""
    if isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            if key == "$ref":
                yield str(part).rpartition("/")[2]
            else:
                yield from _references(part)
    elif isinstance(value, list):
        for part in cast("list[Any]", value):
            yield from _references(part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_FIELD_TYPES: Mapping[FieldType, str] = {
    "bool": "true or false",
    "int": "whole number",
    "double": "number",
    "string": "text",
    "list(string)": "list of text",
    "list(map)": "list of maps",
    "map(double)": "map of numbers",
    "map": "map",
    "dyn": "any",
}


def _fields() -> str:
    rows = ["| field | type | values | meaning |", "| --- | --- | --- | --- |"]
    for field in fields().values():
        choices = " ".join(f"`{choice}`" for choice in field.choices)
        meaning = field.meaning.replace("``", "`")
        rows.append(f"| `{field.name}` | {_FIELD_TYPES[field.type]} | {choices} | {_cell(meaning)} |")
    return "### Fields\n\n" + "\n".join(rows) + "\n"


def _guarantees() -> str:
    said = [f"- `{one.name}`: {one.text}." for one in BUILT_IN]
    lead = "Proved for every workflow, unless `waive` names one with a reason:\n"
    return "\n".join(["## Built-in guarantees\n", lead, *said]) + "\n"


def _codes() -> str:
    config = ((code, text) for code, text in CODES.items() if code.startswith("SG1"))
    rows = ["| code | problem |", "| --- | --- |", *(f"| {code} | {text} |" for code, text in config)]
    return "## Codes\n\n" + "\n".join(rows) + "\n"
