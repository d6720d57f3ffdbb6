"""Checks that everything a config names exists: nodes, models, intents, prompts, indexes, guards, tools, files.

A node's setting that is called `prompt`, `index`, `model`, `guards` or `tool` names one of these, whatever its kind: a
kind of an installed package is checked like a built-in one.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from sluicegate.errors import ConfigError
from sluicegate.graphs.config.models import IntentConfig, WorkflowConfig, guard_names
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.models.config import LOCAL_PROVIDERS, unresolved
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.control.ask import Ask
from sluicegate.nodes.kinds.extract import Extract
from sluicegate.nodes.registry import kinds
from sluicegate.nodes.tools.mcp import available
from sluicegate.nodes.tools.tool import Tool
from sluicegate.policies.config import DEFAULT

__all__ = ["check_kinds", "check_references", "first_existing", "not_for"]


def first_existing(folders: Sequence[Path], name: str) -> Path | None:
    """A file or folder by its relative name, from the first of the folders that has it."""
    try:
        return next((folder / name for folder in folders if (folder / name).exists()), None)
    except (OSError, ValueError):
        return None


def check_references(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    prompts: Iterable[str],
    folders: Sequence[Path],
    faults: Faults,
) -> Mapping[str, Tool]:
    """Report every unknown name, and return the known tools.

    `prompts` are the known ids, `folders` the workflow's and its bases'.
    """
    tools, named = _tools(config, settings, faults)
    names = _Names(faults, tuple(prompts), (*tools, *named))
    _check_models(config, names)
    _check_prices(config, names)
    _check_intents(config, names)
    _check_limits(config, names)
    _check_cache(config, names)
    _check_nodes(config, settings, names)
    _check_values(config, settings, tools, faults)
    _check_guarantees(config, names)
    _check_files(config, folders, names)
    return tools


def _tools(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], faults: Faults
) -> tuple[Mapping[str, Tool], tuple[str, ...]]:
    """The known tools; MCP servers are queried only where the config names one."""
    named = [intent.tool for intent in config.intents.values()]
    named += [getattr(one, "tool", None) for one in settings.values()]
    named += list(config.tools or ())
    try:
        return available(name for name in named if isinstance(name, str)), ()
    except ConfigError as error:
        faults.problems += error.problems
        return available(()), tuple(name for name in named if isinstance(name, str))


_BLOCKS = {"SG111": "nodes", "SG112": "models", "SG113": "intents", "SG115": "indexes"}
"""The block that holds the names of each code."""


class _Names:
    """The names that exist; those of broken parts count, so that one fault is not reported twice."""

    def __init__(self, faults: Faults, prompts: tuple[str, ...], tools: tuple[str, ...]) -> None:
        self.faults = faults
        self.known: dict[str, tuple[str, ...]] = {
            **{code: self._keys(block) for code, block in _BLOCKS.items()},
            "SG114": prompts,
            "SG116": guard_names(),
            "SG117": tools,
        }

    def _keys(self, block: str) -> tuple[str, ...]:
        data = self.faults.source.data.get(block)
        return tuple(cast("dict[str, Any]", data)) if isinstance(data, dict) else ()

    def check(self, code: str, what: str, name: str, pointer: Pointer, hint: str | None = None) -> None:
        known = self.known[code]
        block = _BLOCKS.get(code)
        if block and not known and self.faults.touches((block,)):
            return  # a missing or broken block is already reported
        if name not in known and not self.faults.touches(pointer):
            self.faults.add(code, f"unknown {what} {name!r}", pointer, choices=known, word=name, hint=hint)


def _check_models(config: WorkflowConfig, names: _Names) -> None:
    for role, position, entry in unresolved(config.models):
        hint = "Write provider:model, or the name of a role"
        names.check("SG112", "model", entry, ("models", role, "otherwise", position), hint)
    for name, index in config.indexes.items():
        names.check("SG112", "model", index.embedder, ("indexes", name, "embedder"))
        other = next(each for each, its in config.indexes.items() if its.store == index.store)
        if index.store and other != name:
            names.faults.add(
                "SG107",
                f"the store of index {other!r}, too",
                ("indexes", name, "store"),
                hint="Give each its own prefix",
            )
    router = config.router
    if router.strategy != "slm" and router.embeddings:
        names.check("SG112", "model", router.embedder, ("router", "embedder"))
    review = config.guards.slm_review
    if review.engine == "head":
        names.check("SG112", "model", review.embedder, ("guards", "slm-review", "embedder"))
    if router.strategy != "head":
        names.check("SG112", "model", router.slm, ("router", "slm"))


def _check_prices(config: WorkflowConfig, names: _Names) -> None:
    """A cap in dollars cannot limit a model whose calls have no price."""
    caps = [cap for cap in config.budget.caps if cap.endswith("_usd")]
    if not caps:
        return
    used = {model.use for model in config.models.values()}
    unpriced: list[tuple[str, Pointer]] = []
    for role, model in config.models.items():
        if model.price_per_mtok is None:
            unpriced.append((model.use, ("models", role)))
        unpriced += [
            (entry, ("models", role, "otherwise", position))
            for position, entry in enumerate(model.otherwise)
            if ":" in entry and entry not in used
        ]
    for use, pointer in unpriced:
        if use.partition(":")[0] not in LOCAL_PROVIDERS and not names.faults.touches(pointer):
            what = f"{use} has no price, so budget.{caps[0]} cannot limit it"
            names.faults.add("SG106", what, pointer, of_key=len(pointer) == 2, hint=_PRICE_MEND)


_PRICE_MEND = "Give it a role with price_per_mtok: {input: …, output: …}; 0 if it is free"


def _check_intents(config: WorkflowConfig, names: _Names) -> None:
    for label, intent in config.intents.items():
        if intent.tool is not None:
            _check_tool(config, names, intent.tool, ("intents", label, "tool"))
    if config.router.out_of_scope is not None:
        names.check("SG113", "intent", config.router.out_of_scope, ("router", "out_of_scope"))
    caps = config.budget.per_intent_day_usd
    for label in caps if isinstance(caps, dict) else ():
        names.check("SG113", "intent", label, ("budget", "per_intent_day_usd", label))
    for tool in config.budget.tool_usd:
        _check_tool(config, names, tool, ("budget", "tool_usd", tool))
    for position, tool in enumerate(config.tools or ()):
        names.check("SG117", "tool", tool, ("tools", position))


def _check_limits(config: WorkflowConfig, names: _Names) -> None:
    used = {model.use for model in config.models.values()}
    used |= {entry for model in config.models.values() for entry in model.otherwise if ":" in entry}
    for model in config.limits.models:
        pointer = ("limits", "models", model)
        if model not in used and not names.faults.touches(("models",)):
            hint = "Write provider:model, as the roles do that use it"
            what = f"no role uses the model {model!r}"
            names.faults.add("SG112", what, pointer, choices=sorted(used), word=model, hint=hint, of_key=True)
    if config.policy.roles is None:
        return
    choices = (*config.policy.roles, DEFAULT)
    by_role = (("principals", config.limits.principals), ("priorities", config.limits.priorities))
    for key, roles in by_role:
        for role in roles:
            if role not in choices:
                pointer = ("limits", key, role)
                names.faults.add("SG107", f"unknown role {role!r}", pointer, choices=choices, word=role, of_key=True)


def _check_cache(config: WorkflowConfig, names: _Names) -> None:
    """Semantic caching is for low-risk questions with a short answer."""
    cache, given = config.cache, names.faults.source.data.get("cache")
    kinds_used = (kinds().get(node.kind) for node in config.nodes.values())
    if cache.answers != "off" and not any(kind is None or "looks-up" in kind.effects for kind in kinds_used):
        what, hint = "the cache is never used: no node looks answers up", "Add a cache-lookup node, or remove `cache`"
        names.faults.add("SG107", what, ("cache",), hint=hint, of_key=True)
    if cache.answers != "semantic":
        for key in ("intents", "similarity", "embedder"):
            if isinstance(given, dict) and key in given:
                what, hint = (
                    f"{key!r} has no effect without `answers: semantic`",
                    "Set `answers: semantic`, or remove this key",
                )
                names.faults.add("SG107", what, ("cache", key), hint=hint, of_key=True)
        return
    if not cache.intents and not names.faults.touches(("cache", "intents")):
        fit = [label for label, intent in config.intents.items() if _is_faq(intent)]
        names.faults.add(
            "SG106", "a semantic cache must list the intents it applies to", ("cache",), choices=fit, of_key=True,
            hint="Add `intents: [...]`",
        )  # fmt: skip
    names.check("SG112", "model", cache.embedder, ("cache", "embedder"))
    for position, label in enumerate(cache.intents):
        at: Pointer = ("cache", "intents", position)
        names.check("SG113", "intent", label, at)
        intent = config.intents.get(label)
        if intent is not None and not _is_faq(intent):
            what = f"{label!r} is {intent.task} with {intent.risk} risk: only a low-risk short-answer may be reused"
            names.faults.add("SG107", what, at, hint="Remove it; identical requests are still served from the cache")


def _is_faq(intent: IntentConfig) -> bool:
    return intent.task == "short-answer" and intent.risk == "low"


def _check_tool(config: WorkflowConfig, names: _Names, tool: str, pointer: Pointer) -> None:
    names.check("SG117", "tool", tool, pointer)
    if config.tools is not None and tool in names.known["SG117"] and tool not in config.tools:
        hint = "Add it to `tools`, or use another one"
        names.faults.add("SG117", f"tool {tool!r} is not listed in `tools`", pointer, choices=config.tools, hint=hint)


def _check_nodes(config: WorkflowConfig, settings: Mapping[str, BaseModel], names: _Names) -> None:
    names.check("SG111", "node", config.start, ("start",))
    for name, node in config.nodes.items():
        at: Pointer = ("nodes", name)
        if name.startswith("__"):
            what = f"the node name {name!r} is reserved: names that begin with two underscores belong to the runtime"
            names.faults.add("SG107", what, at, of_key=True, hint=f"Name it {name.strip('_') or 'otherwise'!r}")
        if isinstance(node.then, str):
            names.check("SG111", "node", node.then, (*at, "then"))
        else:
            for position, branch in enumerate(node.then or ()):
                key = "otherwise" if branch.otherwise is not None else "go"
                names.check("SG111", "node", branch.to, (*at, "then", position, key))
        if node.on_error is not None:
            names.check("SG111", "node", node.on_error, (*at, "on_error"))
        given = node.given
        own = settings.get(name)
        if isinstance(own, Ask):
            names.check("SG111", "node", own.on_timeout, (*at, "on_timeout"))
        if own is not None and (kind := kinds()[node.kind]).fork:
            fork = kind.fork(own)
            for position, first in enumerate(fork.branches):
                pointer: Pointer = (*at, "branches", position)
                names.check("SG111", "node", first, pointer)
                if first in fork.branches[:position]:
                    names.faults.add("SG107", f"the branch {first!r} is listed twice", pointer, hint="Remove one")
            names.check("SG111", "node", fork.join, (*at, "join"))
        if own is not None:
            given = {field: getattr(own, field) for field in type(own).model_fields}
        _check_settings(config, given, at, names)
    for label, intent in config.intents.items():
        if intent.task == "tool" and intent.tool is None and _calls_intents_tool(config, settings):
            what = f"requests of {label!r} need a tool, but neither the intent nor the node names one"
            names.faults.add("SG117", what, ("intents", label), choices=names.known["SG117"], of_key=True)


def _check_values(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], tools: Mapping[str, Tool], faults: Faults
) -> None:
    """The rules of what an `extract` node takes for stated, against the fields that it may extract."""
    named = {intent.tool for intent in config.intents.values() if intent.tool}
    intents = [tools[tool].schema for tool in sorted(named) if tool in tools]
    for name, its in settings.items():
        if not isinstance(its, Extract):
            continue
        at: Pointer = ("nodes", name, "values")
        schemas = intents if its.fields is None else [its.fields]
        fields: dict[str, Any] = {}
        for schema in schemas:
            fields |= schema.get("properties", {})
        for field, rule in its.values.items():
            if field not in fields:
                faults.add("SG105", f"unknown field {field!r}", (*at, field), choices=fields, word=field, of_key=True)
                continue
            choices = [str(value) for value in fields[field].get("enum", [])]
            for value in rule if choices and isinstance(rule, dict) else ():
                if value not in choices:
                    what = f"{field!r} is never {value!r}"
                    faults.add("SG107", what, (*at, field, value), choices=choices, word=value, of_key=True)
        for field, schema in fields.items():
            if schema.get("type") == "boolean" and field not in its.values and "default" not in schema:
                what = f"no request states a yes or no such as {field!r}, so it will always be missing"
                hint = f"Add `values: {{{field}: derived}}`, or the words that say it: `{{{field}: {{'true': […]}}}}`"
                faults.add("SG107", what, ("nodes", name), hint=hint, of_key=True, severity="warning")


def _calls_intents_tool(config: WorkflowConfig, settings: Mapping[str, BaseModel]) -> bool:
    return any(
        node.kind == "call-tool" and name in settings and getattr(settings[name], "tool", None) is None
        for name, node in config.nodes.items()
    )


def _check_settings(config: WorkflowConfig, settings: Mapping[str, Any], at: Pointer, names: _Names) -> None:
    """`settings` are the validated ones with their defaults, or what the file says when they are broken."""
    for field, code in (("prompt", "SG114"), ("index", "SG115"), ("model", "SG112")):
        value = settings.get(field)
        if isinstance(value, str):
            names.check(code, field, value, (*at, field), _PROMPT_MEND if field == "prompt" else None)
    prompt = settings.get("prompt")
    if isinstance(prompt, str) and (settings.get("style") in _QUOTING or settings.get("again") in _QUOTING):
        names.check("SG114", "prompt", f"{prompt}-quote", (*at, "prompt"), _QUOTE_MEND)
    guards = settings.get("guards")
    for position, guard in enumerate(cast("Sequence[Any]", guards) if isinstance(guards, list | tuple) else ()):
        if isinstance(guard, str):
            names.check("SG116", "guard", guard, (*at, "guards", position))
    tool = settings.get("tool")
    if isinstance(tool, str):
        _check_tool(config, names, tool, (*at, "tool"))


_QUOTING = ("quote", "auto")
_QUOTE_MEND = "this style needs a prompt of its own: add the file ID-quote.md"
_PROMPT_MEND = "Add the file ID.md to the prompts folder, or use another prompt"


def _check_guarantees(config: WorkflowConfig, names: _Names) -> None:
    known = kinds()
    legal = dict.fromkeys((*known, *(effect for kind in known.values() for effect in sorted(kind.effects))))
    legal |= dict.fromkeys(("generates-answer", "sends"))
    for position, guarantee in enumerate(config.guarantees):
        for key in ("no", "without", "after", "every", "reaches"):
            value: str | tuple[str, ...] = getattr(guarantee, key)
            for item, word in enumerate((value,) if isinstance(value, str) else value):
                at: Pointer = ("guarantees", position, key, item)
                if word and word not in legal and not names.faults.touches(at):
                    names.faults.add("SG110", f"unknown node kind {word!r}", at, choices=legal, word=word)


def _check_files(config: WorkflowConfig, folders: Sequence[Path], names: _Names) -> None:
    wanted: list[tuple[str, Pointer]] = [
        (path, ("indexes", name, "path", position))
        for name, index in config.indexes.items()
        # a machine that only reads a stored index need not have its documents
        if not index.store
        for position, path in enumerate(index.path)
    ]
    files: dict[str, str | None] = config.examples.model_dump()
    wanted += [(path, ("examples", key)) for key, path in files.items() if path is not None]
    for path, pointer in wanted:
        if first_existing(folders, path) is None and not names.faults.touches(pointer):
            names.faults.add("SG101", f"no {path!r} in {folders[0]}", pointer)


def check_kinds(config: WorkflowConfig, faults: Faults) -> dict[str, NodeKind]:
    """The kind of each node; unknown kinds, ends with `then` and others without are noted."""
    known = kinds()
    found: dict[str, NodeKind] = {}
    for name, node in config.nodes.items():
        at: Pointer = ("nodes", name)
        if at not in faults.source.entries:
            continue
        kind = known.get(node.kind)
        if kind is None:
            what = f"unknown node kind {node.kind!r}"
            faults.add("SG110", what, (*at, "kind"), choices=known, word=node.kind)
            continue
        found[name] = kind
        if faults.touches((*at, "then")):
            continue
        if "ends" in kind.effects and node.then is not None:
            faults.add("SG105", f"{node.kind} ends a run and cannot have `then`", (*at, "then"), of_key=True)
        elif kind.fork and node.then is not None:
            what = f"{node.kind} goes on at its join and cannot have `then`"
            faults.add("SG105", what, (*at, "then"), of_key=True, hint="Branch at the join")
        elif "ends" not in kind.effects and not kind.fork and node.then is None:
            what = f"the key 'then' is missing: {node.kind} does not end a run"
            faults.add("SG106", what, at, of_key=True, hint="Name the next node")
        for key in not_for(kind):
            if getattr(node, key) is not None:
                reasons = (why for effect, why in _LASTING.items() if effect in kind.effects)
                why = next(reasons, "has nothing to try again itself")
                faults.add("SG105", f"{node.kind} {why} and cannot have `{key}`", (*at, key), of_key=True)
    return found


_LASTING = {
    "ends": "ends a run",
    "asks-human": "waits for a person",
    "asks-requester": "waits for the requester",
    "waits": "waits for its time",
    "maps": "lasts as long as its items",
}


def not_for(kind: NodeKind) -> tuple[str, ...]:
    """The common keys that a kind cannot have: what ends a run, waits for a person, forks or goes over a list is not
    tried again."""
    if kind.fork:
        return ("timeout", "retry")
    if kind.effects & {"ends", "waits"}:
        return ("timeout", "retry", "on_error")
    if "maps" in kind.effects:
        return ("timeout", "retry")
    return ("retry", "on_error") if kind.effects & {"asks-human", "asks-requester"} else ()
