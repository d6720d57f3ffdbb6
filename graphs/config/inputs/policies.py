"""The policies of a workflow: found, checked against the schema, and asked whether anybody may approve."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from sluicegate.errors import ConfigError, PolicyError
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.policies.guards.registry import guards
from sluicegate.state import Risk

if TYPE_CHECKING:
    from sluicegate.policies.cedar.values import World

__all__ = ["resolve_policies"]


def resolve_policies(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    tools: Iterable[str],
    folders: Sequence[Path],
    faults: Faults,
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
    if all(problem.severity == "warning" for problem in problems):
        _check_approvers(config, settings, files, faults)
    return own, schema, tuple(files)


def _world(config: WorkflowConfig, tools: Iterable[str], folder: Path) -> "World":
    """What a request of this workflow may have, for the values that policies compare with."""
    from sluicegate.policies.cedar.examples import read_examples
    from sluicegate.policies.cedar.values import World

    try:
        people = [one.principal for one in read_examples(folder / "policies" / "examples.yaml")]
    except ConfigError:
        people = []  # none, or broken ones, which `sluicegate policy test` reports
    # approvers are not among them: whether the policies let those decide is asked in `_check_approvers`
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


def _check_approvers(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], policies: Sequence[PolicyFile], faults: Faults
) -> None:
    """A request that nobody may decide on would wait until it is refused."""
    from sluicegate.policies.cedar.approvers import may_decide, named
    from sluicegate.policies.cedar.engine import CedarEngine

    asking = {name: one for name, one in settings.items() if isinstance(one, HumanInterrupt)}
    if not asking:
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
