"""From a file to a checked workflow: read, overlay, validate, resolve names, compile conditions, prove.

`load` is what everything that runs a workflow calls; it raises one `ConfigError` with every problem. `inspect` is the
same for those who report problems. A workflow with a problem of severity ``error`` is not returned.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.regions import regions
from sluicegate.graphs.config.bases import check_weakened, lacks_base, read_with_bases
from sluicegate.graphs.config.fanout.items import bodies, check_bodies, collected, lists
from sluicegate.graphs.config.fanout.reading import reads_by_node
from sluicegate.graphs.config.inputs.artifacts import check_answerers, check_fitted, check_thresholds, resolve_artifacts
from sluicegate.graphs.config.inputs.children import check_taken, load_children
from sluicegate.graphs.config.inputs.giving import given_to_children
from sluicegate.graphs.config.inputs.joint import check_joint
from sluicegate.graphs.config.inputs.model_files import resolve_model_files
from sluicegate.graphs.config.inputs.placeholders import check_placeholders
from sluicegate.graphs.config.inputs.policies import resolve_policies
from sluicegate.graphs.config.inputs.prompts import resolve_prompts
from sluicegate.graphs.config.inputs.resolved import Resolved
from sluicegate.graphs.config.inputs.tool_arguments import check_arguments
from sluicegate.graphs.config.models import COMMON_NODE_KEYS, WorkflowConfig
from sluicegate.graphs.config.proving import KnownConditions, contract_of, flow_of, guarantees_of, waivers_of
from sluicegate.graphs.config.references import check_kinds, check_references, first_existing, not_for
from sluicegate.graphs.config.source import Pointer, Source
from sluicegate.graphs.config.validate import Faults, valid_config, validated
from sluicegate.graphs.proofs import Guarantee, Waiver, prove
from sluicegate.graphs.proofs.contracts import CHILD_ENDED
from sluicegate.graphs.proofs.dataflow import earlier_verdicts, never_written
from sluicegate.graphs.proofs.flow import Contract, Flow
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.control.workflow import SubWorkflow
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.tag import TAG, Tag
from sluicegate.observe.prompts import langfuse_prompts
from sluicegate.plugins import packages

__all__ = ["Workflow", "inspect", "load", "refreshed"]

log = logging.getLogger(__name__)


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
    lists: Mapping[str, Condition]
    """What each for-each goes over, by its name."""
    gives: Mapping[str, Mapping[str, Condition]]
    """What each child is given, by its node and by name."""
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
    known: KnownConditions
    """The conditions as the proofs ask for them."""
    children: Mapping[str, "Workflow"]
    """The workflows that are nodes of it, by the node's name."""

    @property
    def name(self) -> str:
        return self.config.workflow

    @property
    def version(self) -> str:
        return self.config.version

    @property
    def out_of_scope(self) -> str | None:
        """The intent of requests that are none of its own."""
        outside = (label for label, intent in self.config.intents.items() if intent.task == "out-of-scope")
        return self.config.router.out_of_scope or next(outside, None)

    @property
    def family(self) -> tuple["Workflow", ...]:
        """This workflow and all within it, each once."""
        within = (one for child in self.children.values() for one in child.family)
        return tuple({one.path: one for one in (self, *within)}.values())

    @property
    def folder(self) -> Path:
        return self.folders[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files and folders that its digest depends on, and those of the workflows within it."""
        return tuple(
            path
            for one in self.family
            for path in (
                *one.source.files,
                *one.prompt_folders,
                one.policy_folder,
                *(artifact.folder for artifact in one.resolved.artifacts.values()),
                *(file.path for file in one.resolved.model_files.values()),
            )
        )

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
    """The workflow in a file, None when it has errors, and every problem, in file order, those of its children last."""
    return _Loading().inspect(Path(path), ())


class _Loading:
    """One loading of a workflow and all within it, each read once."""

    def __init__(self) -> None:
        self._done: dict[Path, tuple[Workflow | None, list[Problem]]] = {}

    def inspect(self, path: Path, above: tuple[Path, ...]) -> tuple[Workflow | None, list[Problem]]:
        """`above` are the files of the workflows that lead to this one."""
        known = path.resolve()
        if known not in self._done:
            self._done[known] = _inspect(path, lambda child: self.inspect(child, (*above, known)), (*above, known))
        return self._done[known]


_Inspect = Callable[[Path], tuple[Workflow | None, list[Problem]]]


def _inspect(path: Path, inspect_child: _Inspect, above: tuple[Path, ...]) -> tuple[Workflow | None, list[Problem]]:
    source = read_with_bases(path)
    if not isinstance(source.data, dict):
        problems = list(source.problems)
        if source.data is not None:
            problems.append(Problem("SG107", "a workflow is a map of keys and values", source.place(())))
        return None, problems
    faults = Faults(source)
    faults.problems += source.problems
    # without its base, an overlay lacks nearly everything; reporting that would hide the cause
    workflow = None if lacks_base(source) else _checked(source, faults, inspect_child, above)
    problems = _in_file_order(faults.problems, source)
    return (None if any(problem.severity == "error" for problem in problems) else workflow), problems


def _in_file_order(problems: Sequence[Problem], source: Source) -> list[Problem]:
    files = {str(path): position for position, path in enumerate(source.files)}
    # values that YAML may have misread are not validated
    trapped = {problem.place for problem in problems if problem.code == "SG103"}
    shown = [problem for problem in problems if problem.code == "SG103" or problem.place not in trapped]

    def order(problem: Problem) -> tuple[int, str, int, int]:
        place = problem.place or Place("", 0, 0)
        return files.get(place.file, len(files)), place.file, place.line, place.column

    return sorted(dict.fromkeys(shown), key=order)


def _checked(source: Source, faults: Faults, inspect_child: _Inspect, above: tuple[Path, ...]) -> Workflow | None:
    config = valid_config(source, faults)
    if config is None:
        return None
    folders = tuple(dict.fromkeys(file.parent for file in source.files))
    placed = {role: model.beside(folders) for role, model in config.models.items()}
    config = config.model_copy(update={"models": placed})
    kinds = check_kinds(config, faults)
    settings = _settings(config, kinds, faults)
    prompt_folders = tuple(folder / config.prompts for folder in folders)
    prompts = resolve_prompts(prompt_folders, folders, faults)
    known_tools = check_references(config, settings, prompts, folders, faults)
    check_arguments(config, settings, known_tools, faults)
    check_bodies(config, settings, kinds, faults)
    within, names = bodies(config), collected(config)
    check_placeholders(config, settings, kinds, prompts, known_tools, within, names, faults)
    tools = _tools(config, settings)
    compiler = Conditions(config.intents, tools, _tags(config), config.nodes, names, config.inputs)
    over = lists(settings, compiler, faults)
    conditions = _conditions(config, compiler, faults)
    children = load_children(settings, folders, faults, above, inspect_child)
    for child in children.values():
        # a run holds texts of the runs within it
        strict = {
            "tracing": config.tracing.stricter(child.config.tracing),
            "retention": config.retention.shorter(child.config.retention),
        }
        config = config.model_copy(update=strict)
    gives = given_to_children(settings, {node: one.config.inputs for node, one in children.items()}, compiler, faults)
    policy_folder, schema, policies = resolve_policies(config, settings, {*tools, *known_tools}, folders, faults)
    artifacts = resolve_artifacts(config, folders, faults)
    weights = resolve_model_files(config, faults)
    check_fitted(config, artifacts, faults)
    check_thresholds(config, conditions, faults)
    check_answerers(config, settings, conditions, artifacts, faults)
    used = _packages(config, settings, tools, faults)
    for node, child in children.items():
        if config.workflow in {one.name for one in child.family}:
            what = f"{config.workflow!r} within a workflow of the same name: budgets and records go by it"
            faults.add("SG143", what, ("nodes", node, "use"), hint="Rename one of them")
    if any(problem.severity == "error" for problem in faults.problems):
        return None
    check_weakened(config, faults)
    resolved = Resolved(prompts, policies, schema, artifacts, known_tools, used, weights)
    check_joint(config, settings, resolved, faults)
    contracts = {name: _contract(settings[name], child) for name, child in children.items()}
    flow = flow_of(config, kinds, settings, within, source, contracts, reads_by_node(settings, kinds, prompts, over))
    guarantees, waivers = guarantees_of(config, source), waivers_of(config, source)
    tagging = {name: one for name, one in settings.items() if isinstance(one, Tag)}
    faults.problems += never_written(
        flow, conditions, tagging, over, gives, frozenset({"inputs"} if config.inputs else ())
    )
    faults.problems += earlier_verdicts(flow, conditions)
    check_taken(flow, settings, faults)
    known = KnownConditions(conditions, compiler, CHILD_ENDED if children else ())
    faults.problems += prove(flow, guarantees, waivers, known, regions(known.conditions.values()))
    return Workflow(
        config=config,
        path=source.path,
        folders=folders,
        digest=_digest(config, settings, resolved, children),
        resolved=resolved,
        source=source,
        flow=flow,
        conditions=conditions,
        lists=over,
        gives=gives,
        settings=settings,
        prompt_folders=prompt_folders,
        policy_folder=policy_folder,
        tools=tools,
        guarantees=guarantees,
        waivers=waivers,
        warnings=tuple(problem for problem in faults.problems if problem.severity == "warning"),
        known=known,
        children=children,
    )


def _contract(settings: BaseModel, child: Workflow) -> Contract:
    assert isinstance(settings, SubWorkflow)
    return contract_of(settings, child.name, child.flow, child.known)


def _settings(config: WorkflowConfig, kinds: Mapping[str, NodeKind], faults: Faults) -> dict[str, BaseModel]:
    settings: dict[str, BaseModel] = {}
    for name, kind in kinds.items():
        node = config.nodes[name]
        # a kind may mean something of its own by `timeout`, such as how long a person has to decide
        own = {"timeout": node.timeout} if node.timeout is not None and "timeout" in kind.settings.model_fields else {}
        common = [key for key in COMMON_NODE_KEYS if key not in not_for(kind)]
        valid = validated(kind.settings, {**node.given, **own}, ("nodes", name), faults, also=common)
        if valid is not None:
            settings[name] = _with_index(valid, config)
    return settings


def _with_index(settings: BaseModel, config: WorkflowConfig) -> BaseModel:
    """A `retrieve` node without `k` takes that of its index."""
    if isinstance(settings, Retrieve) and settings.k is None and settings.index in config.indexes:
        return settings.model_copy(update={"k": config.indexes[settings.index].k})
    return settings


def _packages(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], tools: Iterable[str], faults: Faults
) -> dict[str, str]:
    """Where what the workflow uses beyond the built-in comes from."""
    guards = {guard for one in settings.values() for guard in getattr(one, "guards", None) or ()}
    used = {
        "kind": ("sluicegate.nodes", {node.kind for node in config.nodes.values()}),
        "tool": ("sluicegate.tools", set(tools)),
        "guard": ("sluicegate.guards", guards),
    }
    found = {
        f"{what} {name}": package
        for what, (group, names) in used.items()
        for name, package in sorted(packages(group).items())
        if name in names
    }
    if "pii" in guards and config.guards.pii.engine == "presidio":
        try:
            found["engine presidio"] = f"presidio-analyzer {version('presidio-analyzer')}"
        except PackageNotFoundError:
            hint = "Install it: pip install 'sluicegate[presidio]'"
            what = "the engine presidio needs the package presidio-analyzer"
            faults.add("SG129", what, ("guards", "pii", "engine"), hint=hint)
    return found


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
    """Every condition by its text."""
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


def _digest(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    resolved: Resolved,
    children: Mapping[str, Workflow],
) -> str:
    """SHA-256 over all that can change a decision; where the files lie and how they are laid out cannot.

    The release of Sluicegate is not in it: each upgrade would strand every waiting run and promotion. What a release
    may change of a workflow is: the base policies, their schema and the default of every setting.
    """
    content = {
        "config": config.model_dump(mode="json", by_alias=True, exclude={"extends", "examples", "purpose", "tracing"}),
        "settings": {name: one.model_dump(mode="json", by_alias=True) for name, one in settings.items()},
        "injection": resolved.artifacts[model].hash if (model := config.guards.injection.model) else None,
        "review": resolved.artifacts[head].hash if (head := config.guards.slm_review.artifact) else None,
        "router": {key: resolved.artifacts[name].hash for key, name in config.router.artifacts.items()},
        **resolved.packed(),
        **({"children": {node: child.digest for node, child in children.items()}} if children else {}),
    }
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
