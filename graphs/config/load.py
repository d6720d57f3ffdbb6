"""From a file to a checked workflow: read, overlay, validate, resolve names, compile conditions, prove.

`load` is what everything that runs a workflow calls; it raises one `ConfigError` with every problem. `inspect` is the
same for those who report problems. A workflow with a problem of severity ``error`` is not returned.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import BaseModel

from sluicegate.errors import ConfigError, Place, PolicyError, Problem
from sluicegate.files import line_and_column, read_bounded
from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.regions import regions
from sluicegate.graphs.config.models import COMMON_NODE_KEYS, GuaranteeConfig, WorkflowConfig
from sluicegate.graphs.config.overlay import overlay, weakened
from sluicegate.graphs.config.placeholders import check_placeholders
from sluicegate.graphs.config.references import check_kinds, check_references, first_existing
from sluicegate.graphs.config.resolved import Resolved, ResolvedArtifact, ResolvedPrompt
from sluicegate.graphs.config.source import Pointer, Source, read
from sluicegate.graphs.config.validate import Faults, valid_config, validated
from sluicegate.graphs.proofs import BUILT_IN, Guarantee, Waiver, prove
from sluicegate.graphs.proofs.dataflow import earlier_verdicts, never_written
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.tag import TAG, Tag
from sluicegate.observe.prompts import Fetch, Fetched, langfuse_prompts, reference
from sluicegate.plugins import packages
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.policies.guards.registry import guards
from sluicegate.state import Risk

if TYPE_CHECKING:
    from sluicegate.policies.cedar.values import World

__all__ = ["Workflow", "inspect", "load", "refreshed"]

log = logging.getLogger(__name__)

_PLAIN_KEYS = frozenset({"no"})
"""Keys of the language that YAML 1.1 reads as booleans."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A checked workflow: everything that follows from its files, and nothing else."""

    config: WorkflowConfig
    path: Path
    """The workflow's file."""
    folders: tuple[Path, ...]
    """Its folder first, then those of the workflows it extends; relative names are looked up in this order."""
    digest: str
    """SHA-256 of all that can change a decision: the config with its defaults, and `resolved`."""
    resolved: Resolved
    source: Source
    flow: Flow
    conditions: Mapping[str, Condition]
    """By their text."""
    settings: Mapping[str, BaseModel]
    """The validated settings of each node, by its name."""
    prompt_folders: tuple[Path, ...]
    """In the order of precedence."""
    policy_folder: Path
    """Where the workflow's own policies are."""
    tools: tuple[str, ...]
    """The tools that it may call."""
    guarantees: tuple[Guarantee, ...]
    waivers: tuple[Waiver, ...]
    warnings: tuple[Problem, ...]

    @property
    def name(self) -> str:
        return self.config.workflow

    @property
    def version(self) -> str:
        return self.config.version

    @property
    def folder(self) -> Path:
        return self.folders[0]

    def find(self, name: str) -> Path:
        """A file that the config names, from the first folder that has it; in the workflow's own when none has."""
        return first_existing(self.folders, name) or self.folder / name


def load(path: Path | str) -> Workflow:
    """The workflow in a file. Raises `ConfigError` with every problem that was found, in file order."""
    workflow, problems = inspect(path)
    if workflow is None:
        raise ConfigError([problem for problem in problems if problem.severity == "error"])
    return workflow


def refreshed(workflow: Workflow) -> Workflow | None:
    """The workflow with the present texts of its managed prompts; None when it has them.

    An edit of a file is not taken along: then the result is None too, and what was loaded stays. Raises `ConfigError`
    when a new text may not be used.
    """
    if not any(prompt.managed for prompt in workflow.resolved.prompts.values()):
        return None
    if not workflow.resolved.outdated(langfuse_prompts()):
        return None
    fresh = load(workflow.path)
    if _of_files(fresh) != _of_files(workflow):
        log.warning("%s: a managed prompt and files have changed; restart to serve them", workflow.path)
        return None
    return None if fresh.digest == workflow.digest else fresh


def _of_files(workflow: Workflow) -> tuple[object, ...]:
    """The inputs that only an edit or an installation changes."""
    return workflow.source.contents, [one for one in workflow.resolved.inputs if not one.managed]


def inspect(path: Path | str) -> tuple[Workflow | None, list[Problem]]:
    """The workflow in a file, None when it has errors, and every problem, in file order."""
    source = _read_with_bases(Path(path))
    if not isinstance(source.data, dict):
        problems = list(source.problems)
        if source.data is not None:
            problems.append(Problem("SG107", "a workflow is a map of keys and values", source.place(())))
        return None, problems
    faults = Faults(source)
    faults.problems += source.problems
    # without its base, an overlay lacks nearly everything; reporting that would hide the cause
    baseless = any(problem.code == "SG118" for problem in source.problems)
    workflow = None if baseless else _checked(source, faults)
    problems = _in_file_order(faults.problems, source)
    return (None if any(problem.severity == "error" for problem in problems) else workflow), problems


def _in_file_order(problems: Sequence[Problem], source: Source) -> list[Problem]:
    files = {str(path): position for position, path in enumerate(source.files)}
    # values that YAML may have misread are not validated
    trapped = {problem.place for problem in problems if problem.code == "SG103"}
    told = [problem for problem in problems if problem.code == "SG103" or problem.place not in trapped]

    def order(problem: Problem) -> tuple[int, str, int, int]:
        place = problem.place or Place("", 0, 0)
        return files.get(place.file, len(files)), place.file, place.line, place.column

    return sorted(dict.fromkeys(told), key=order)


_MOST_BASES = 16
"""How many files may stand one upon the other."""


def _read_with_bases(path: Path, below: tuple[Path, ...] = ()) -> Source:
    """A file merged over those it extends.

    A base may lie anywhere, since a variant has a folder of its own, but it must be a workflow: of any other file
    nothing is shown, not even what is wrong with it.
    """
    source = read(path, plain_keys=_PLAIN_KEYS)
    base = cast("dict[str, Any]", source.data).get("extends") if isinstance(source.data, dict) else None
    if not isinstance(base, str):
        return source
    place, trail = source.place(("extends",)), (*below, path.resolve())
    try:
        target = Path(os.path.normpath(path.parent / base))
        circular = target.resolve() in trail
    except (OSError, ValueError) as error:
        return _with(source, Problem("SG118", f"extends cannot be resolved: {error}", place))
    if circular:
        way = " -> ".join(step.name for step in (*trail, target))
        return _with(source, Problem("SG118", f"circular extends: {way}", place))
    if len(trail) > _MOST_BASES:
        what, hint = f"extends more than {_MOST_BASES} files, one by the other", "Write one of them out"
        return _with(source, Problem("SG118", what, place, hint=hint))
    if target.suffix not in (".yaml", ".yml"):
        what, hint = f"{base!r} is no workflow: its name does not end in .yaml", "Name a workflow file"
        return _with(source, Problem("SG118", what, place, hint=hint))
    under = _read_with_bases(target, trail)
    if not isinstance(under.data, dict) or not {"workflow", "extends"} & cast("dict[str, Any]", under.data).keys():
        unread = next((problem.message for problem in under.problems if problem.code == "SG101"), "")
        if unread.endswith("file not found"):
            return _with(source, Problem("SG118", f"no workflow {base!r}", place))
        what = f"no workflow {base!r}: {unread}" if unread else f"{base!r} is no workflow"
        return _with(source, Problem("SG118", what, place, hint=f"Check it by itself: sluicegate check {target}"))
    return overlay(source, under)


def _with(source: Source, *problems: Problem) -> Source:
    return replace(source, problems=(*source.problems, *problems))


def _checked(source: Source, faults: Faults) -> Workflow | None:
    config = valid_config(source, faults)
    if config is None:
        return None
    folders = tuple(dict.fromkeys(file.parent for file in source.files))
    kinds = check_kinds(config, faults)
    settings = _settings(config, kinds, faults)
    prompt_folders = tuple(folder / config.prompts for folder in folders)
    prompts = _prompts(prompt_folders, folders, faults)
    known_tools = check_references(config, settings, prompts, folders, faults)
    check_placeholders(config, settings, kinds, prompts, known_tools, faults)
    tools = _tools(config, settings)
    compiler = Conditions(config.intents, tools, _tags(config), config.nodes)
    conditions = _conditions(config, compiler, faults)
    policy_folder, schema, policies = _policies(config, {*tools, *known_tools}, folders, faults)
    _approvers(config, settings, policies, faults)
    artifacts = _artifacts(config, folders, faults)
    _router(config, artifacts, faults)
    _thresholds(config, conditions, faults)
    if any(problem.severity == "error" for problem in faults.problems):
        return None
    _weakened(config, faults)
    resolved = Resolved(prompts, policies, schema, artifacts, known_tools, _packages(config, settings, tools))
    flow = _flow(config, kinds, settings, source)
    guarantees = tuple(_proved(one, source, position) for position, one in enumerate(config.guarantees))
    waivers = tuple(
        Waiver(one.guarantee, one.reason, source.place(("waive", position)))
        for position, one in enumerate(config.waive)
    )

    tagging = {name: one for name, one in settings.items() if isinstance(one, Tag)}
    faults.problems += never_written(flow, conditions, tagging)
    faults.problems += earlier_verdicts(flow, conditions)
    known = _Known(conditions, compiler)
    faults.problems += prove(flow, guarantees, waivers, known, regions(known.conditions.values()))
    return Workflow(
        config=config,
        path=source.path,
        folders=folders,
        digest=_digest(config, settings, resolved),
        resolved=resolved,
        source=source,
        flow=flow,
        conditions=conditions,
        settings=settings,
        prompt_folders=prompt_folders,
        policy_folder=policy_folder,
        tools=tools,
        guarantees=guarantees,
        waivers=waivers,
        warnings=tuple(problem for problem in faults.problems if problem.severity == "warning"),
    )


def _weakened(config: WorkflowConfig, faults: Faults) -> None:
    """What an overlay promises less than any of its bases; another look at the same base is not needed."""
    said: set[str] = set()
    base = faults.source.base
    while base:
        under = valid_config(base, Faults(base))
        for one in weakened(under, config) if under else ():
            if one.what not in said:
                said.add(one.what)
                hint = f"Restore it as {base.path.name} has it, or allow it in the plan of a promotion: `weakens`"
                faults.add("SG138", f"weaker than {base.path.name}: {one.what}", one.at, hint=hint, severity="warning")
        base = base.base


class _Known:
    """The compiled conditions, the config's and those of the built-in guarantees, as the proofs ask for them."""

    def __init__(self, conditions: Mapping[str, Condition], compiler: Conditions) -> None:
        built_in = [text for one in BUILT_IN for text in (one.when, one.where, one.since) if text is not None]
        self.conditions = {**{text: compiler.compile(text) for text in built_in}, **conditions}

    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        return self.conditions[condition].known(facts)

    def reads(self, condition: str, /) -> frozenset[str]:
        return self.conditions[condition].fields


def _settings(config: WorkflowConfig, kinds: Mapping[str, NodeKind], faults: Faults) -> dict[str, BaseModel]:
    found: dict[str, BaseModel] = {}
    for name, kind in kinds.items():
        valid = validated(kind.settings, config.nodes[name].given, ("nodes", name), faults, also=COMMON_NODE_KEYS)
        if valid is not None:
            found[name] = _with_index(valid, config)
    return found


def _with_index(settings: BaseModel, config: WorkflowConfig) -> BaseModel:
    """A `retrieve` node without `k` takes that of its index."""
    if isinstance(settings, Retrieve) and settings.k is None and settings.index in config.indexes:
        return settings.model_copy(update={"k": config.indexes[settings.index].k})
    return settings


_MOST_OF_A_PROMPT = 1_000_000
"""Bytes."""


def _prompts(folders: Sequence[Path], within: Sequence[Path], faults: Faults) -> dict[str, ResolvedPrompt]:
    """The prompts by id, those managed in Langfuse with the text that it gives now."""
    found: dict[str, ResolvedPrompt] = {}
    for folder in reversed(folders):
        for file in sorted(folder.glob("*.md")):
            top = Place(str(file), 1, 1)
            try:
                content = read_bounded(file, _MOST_OF_A_PROMPT, within=within)
                found[file.stem] = ResolvedPrompt(file, content, top)
                content.decode()
            except OSError as error:
                faults.problems.append(Problem("SG101", f"cannot read {file}: {error.strerror}", top))
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(errors="replace")
                place = replace(top, line=line_and_column(before, len(before))[0])
                faults.problems.append(Problem("SG109", "not UTF-8", place, hint="Save it as UTF-8"))
    fetch = langfuse_prompts()
    return {name: _managed(name, prompt, fetch, faults) for name, prompt in found.items()}


def _managed(name: str, prompt: ResolvedPrompt, fetch: Fetch | None, faults: Faults) -> ResolvedPrompt:
    named = reference(prompt.content.decode(errors="replace").replace("\r\n", "\n"))
    if named is None:
        return prompt
    place = replace(prompt.place, line=named.line)
    fetched = fetch(name, named) if fetch else Fetched(None)
    warning = ""
    if fetched.fault:
        used = fetched.version or "its file"
        warning = f"prompt {name}: {named} is unavailable in Langfuse ({fetched.fault}); using {used}"
        faults.problems.append(Problem("SG119", warning, place, severity="warning"))
    text = named.without if fetched.text is None else fetched.text
    return ResolvedPrompt(prompt.file, text.encode(), place, managed=named, version=fetched.version, warning=warning)


def _artifacts(config: WorkflowConfig, folders: Sequence[Path], faults: Faults) -> dict[str, ResolvedArtifact]:
    """By name, those that nothing has fitted yet included."""
    found: dict[str, ResolvedArtifact] = {}
    for key in ("artifact", "answers"):
        name: str | None = getattr(config.router, key)
        if name is None:
            continue
        card = first_existing(folders, f"{name}/card.json")
        folder = card.parent if card else folders[0] / name
        try:
            found[name] = ResolvedArtifact.read(folder, within=folders)
        except OSError as error:
            found[name] = ResolvedArtifact(folder, None)
            faults.add("SG101", f"cannot read {folder / 'card.json'}: {error.strerror}", ("router", key))
    return found


def _packages(config: WorkflowConfig, settings: Mapping[str, BaseModel], tools: Iterable[str]) -> dict[str, str]:
    """Where what the workflow uses beyond the built-in comes from."""
    guards = (guard for one in settings.values() for guard in getattr(one, "guards", None) or ())
    used = {
        "kind": ("sluicegate.nodes", {node.kind for node in config.nodes.values()}),
        "tool": ("sluicegate.tools", set(tools)),
        "guard": ("sluicegate.guards", set(guards)),
    }
    return {
        f"{what} {name}": package
        for what, (group, names) in used.items()
        for name, package in sorted(packages(group).items())
        if name in names
    }


def _tools(config: WorkflowConfig, settings: Mapping[str, BaseModel]) -> tuple[str, ...]:
    if config.tools is not None:
        return config.tools
    of_intents = [intent.tool for intent in config.intents.values()]
    of_nodes = [getattr(one, "tool", None) for one in settings.values()]
    return tuple(dict.fromkeys(tool for tool in (*of_intents, *of_nodes) if tool))


def _tags(config: WorkflowConfig) -> list[str]:
    """Every tag that a node scores; those of broken nodes count, so that one fault is not reported twice."""
    named: list[Any] = [node.given.get("tags") for node in config.nodes.values() if node.kind == TAG.name]
    return list(dict.fromkeys(tag for tags in named if isinstance(tags, dict) for tag in cast("dict[str, Any]", tags)))


def _conditions(config: WorkflowConfig, compiler: Conditions, faults: Faults) -> dict[str, Condition]:
    texts: list[tuple[str, Pointer]] = []
    for name, node in config.nodes.items():
        for position, branch in enumerate(node.branches):
            at: Pointer = ("nodes", name, "then", position)
            if branch.when is not None:
                texts.append((branch.when, (*at, "when")))
            elif position < len(node.branches) - 1 and not faults.touches(at):
                hint = "Move it to the end; branches after it are never tried"
                faults.add("SG136", "`otherwise` must be the last branch", (*at, "otherwise"), of_key=True, hint=hint)
    for position, guarantee in enumerate(config.guarantees):
        for key in ("when", "where"):
            text: str | None = getattr(guarantee, key)
            if text is not None:
                texts.append((text, ("guarantees", position, key)))
    found: dict[str, Condition] = {}
    for text, pointer in texts:
        if text in found:
            continue
        try:
            found[text] = compiler.compile(text, lambda offset, at=pointer: faults.source.within(at, offset))
        except ConfigError as error:
            faults.problems += error.problems
    return found


def _policies(
    config: WorkflowConfig, tools: Iterable[str], folders: Sequence[Path], faults: Faults
) -> tuple[Path, str, tuple[PolicyFile, ...]]:
    """The folder of the workflow's policies, the schema, and every policy text, checked."""
    from sluicegate.policies.cedar.checking import check

    own = next((folder for folder in folders if any(_matches(folder, one) for one in config.policy.files)), folders[0])
    schema = base_schema()
    try:
        files = policy_files(own, config.policy)
    except (PolicyError, ValueError, NotImplementedError, OSError) as error:
        faults.add("SG201", str(error).removeprefix("SG201 "), ("policy", "files"))
        return own, schema, ()
    _, problems = check(files, schema, _world(config, tools, own))
    faults.problems += problems
    return own, schema, tuple(files)


def _world(config: WorkflowConfig, tools: Iterable[str], folder: Path) -> "World":
    """What a request of this workflow may have, for the values that policies compare with."""
    from sluicegate.policies.cedar.examples import read_examples
    from sluicegate.policies.cedar.values import World

    try:
        people = [one.principal for one in read_examples(folder / "policies" / "examples.yaml")]
    except ConfigError:
        people = []  # none, or broken ones, which `sluicegate policy test` reports
    # approvers are not among them: whether the policies let those decide is asked in `_approvers`
    named = {"Role": [name for one in people for name in one.roles], "Group": [n for one in people for n in one.groups]}
    declared = {"Role": config.policy.roles, "Group": config.policy.groups}
    models = {name for one in config.models.values() for name in (one.use, *one.otherwise) if ":" in name}
    return World.of(
        intents=tuple(config.intents),
        risks=get_args(Risk),
        guards=tuple(guards()),
        entities={
            "Workflow": (config.workflow,),
            "Tool": sorted(tools),
            "Model": sorted(models),
            **{kind: names for kind, names in declared.items() if names is not None},
        },
        indexes=tuple(config.indexes),
        named=named,
        zone=config.policy.time_zone,
    )


def _approvers(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], policies: Sequence[PolicyFile], faults: Faults
) -> None:
    """A request that nobody may decide on would wait until it is refused."""
    from sluicegate.policies.cedar.approvers import may_decide, named
    from sluicegate.policies.cedar.engine import CedarEngine

    asking = {name: one for name, one in settings.items() if isinstance(one, HumanInterrupt)}
    if not asking or any(problem.code == "SG201" and problem.severity == "error" for problem in faults.problems):
        return
    engine = CedarEngine(policies)
    risks = {label: intent.risk for label, intent in config.intents.items()}
    for name, one in asking.items():
        for key, approver in (("approvers", one.approvers), ("escalate_to", one.escalate_to)):
            if approver is not None and not may_decide(engine, approver, risks):
                kind = approver.partition(":")[0]
                choices = [f"{kind}:{each}" for each in named(engine, kind)]
                what = f"no policy lets {approver} decide, whatever the request: who is nothing else is refused"
                hint = f"Permit it in {config.policy.files[0] if config.policy.files else 'a policy'}, or ask others"
                faults.add("SG128", what, ("nodes", name, key), choices=choices, word=approver, hint=hint)


def _matches(folder: Path, pattern: str) -> bool:
    try:
        return any(folder.glob(pattern))
    except (ValueError, NotImplementedError, OSError):
        return False


def _router(config: WorkflowConfig, artifacts: Mapping[str, ResolvedArtifact], faults: Faults) -> None:
    unfitted = {
        key for key, name in (("artifact", config.router.artifact), ("answers", config.router.answers))
        if name is not None and artifacts[name].hash is None and not faults.touches(("router", key))
    }  # fmt: skip
    artifact, answers = config.router.artifacts
    if config.router.strategy != "slm" and "artifact" in unfitted:
        hint = f"Fit it: sluicegate router fit {faults.source.path}"
        what = f"no router artifact {artifact!r} yet"
        faults.add("SG310", what, ("router", "artifact"), hint=hint, severity="warning")
    if "answers" in unfitted:
        hint = f"Fit it: sluicegate router fit {faults.source.path} --task answer"
        what = f"no answer confidence artifact {answers!r} yet"
        faults.add("SG310", what, ("router", "answers"), hint=hint, severity="warning")


def _thresholds(config: WorkflowConfig, conditions: Mapping[str, Condition], faults: Faults) -> None:
    """A field without a fitted artifact would send every answer to the same branch."""
    if config.router.answers is not None:
        return
    for name, node in config.nodes.items():
        for position, branch in enumerate(node.branches):
            found = conditions.get(branch.when) if branch.when is not None else None
            for field in sorted({"answer.threshold", "answer.answerability"} & set(found.fields if found else ())):
                faults.add(
                    "SG310",
                    f"{field} is fitted to graded answers, but the workflow names no artifact for it",
                    ("nodes", name, "then", position, "when"),
                    hint="Name one under `router: {answers: …}`, or compare answer.confidence with a number",
                )


def _checked_for(kind: NodeKind, settings: BaseModel) -> frozenset[str]:
    """What a check checks for: its guards. What an installed kind checks for, only one like it does."""
    guards = frozenset[str](getattr(settings, "guards", None) or ())
    if "checks" not in kind.effects or kind is OUTPUT_CHECK:
        return guards
    return guards | {f"{kind.name} {settings.model_dump_json()}"}


def _flow(
    config: WorkflowConfig, kinds: Mapping[str, NodeKind], settings: Mapping[str, BaseModel], source: Source
) -> Flow:
    nodes: dict[str, FlowNode] = {}
    for name, node in config.nodes.items():
        at: Pointer = ("nodes", name)
        edges = tuple(
            Edge(branch.to, branch.when, source.place((*at, "then", position) if isinstance(node.then, tuple) else at))
            for position, branch in enumerate(node.branches)
        )
        kind = kinds[name]
        place = source.place(at, of_key=True)
        writes = kind.writes | {f"extra.{key}" for key in kind.extra}
        nodes[name] = FlowNode(
            name,
            node.kind,
            kind.roles(settings[name]),
            edges,
            node.max_visits,
            place,
            writes,
            kind.always_writes,
            _checked_for(kind, settings[name]),
        )
    intents = {
        label: {"risk": one.risk, "task": one.task, "max_tokens": one.max_tokens, "tool": one.tool or ""}
        for label, one in config.intents.items()
    }
    waived = tuple(f"{one.guarantee}: {one.reason}" for one in config.waive)
    return Flow(config.start, nodes, intents, waived)


def _proved(guarantee: GuaranteeConfig, source: Source, position: int) -> Guarantee:
    return Guarantee(
        no=guarantee.no,
        without=guarantee.without,
        after=guarantee.after,
        when=guarantee.when,
        where=guarantee.where,
        every=guarantee.every,
        reaches=guarantee.reaches,
        place=source.place(("guarantees", position)),
    )


def _digest(config: WorkflowConfig, settings: Mapping[str, BaseModel], resolved: Resolved) -> str:
    """SHA-256 over all that can change a decision; where the files lie and how they are laid out cannot.

    The release of Sluicegate is not in it: each upgrade would strand every waiting run and promotion. What a release
    may change of a workflow is: the base policies, their schema and the default of every setting.
    """
    content = {
        "config": config.model_dump(mode="json", by_alias=True, exclude={"extends", "examples", "purpose", "tracing"}),
        "settings": {name: one.model_dump(mode="json", by_alias=True) for name, one in settings.items()},
        "router": [resolved.artifacts[name].hash if name is not None else None for name in config.router.artifacts],
        **resolved.packed(),
    }
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
