"""`workflow`: another workflow as one step. It is a run of its own, for the same requester, under its own policies,
guards and budgets; what it is asked and what comes back of it is declared.

A question that the child puts to a person is put by its parent: the parent waits, and the decision resumes both.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.sources import retrieved
from sluicegate.services import Services
from sluicegate.state import Child, State

__all__ = ["WORKFLOW", "SubWorkflow", "Taken"]

Taken = Literal["answer", "checks", "documents", "extraction", "policy", "approval", "tool_calls"]


class SubWorkflow(Settings):
    use: str = Field(min_length=1)
    """The file of the workflow, relative to this one's folder."""
    give: dict[str, Annotated[str, StringConstraints(min_length=1)]] = Field(default_factory=dict[str, str])
    """What it is given, in CEL over the fields in the reference: the text of its request as `question`, such as
    ``'Identify ' + extraction.fields.name`` (by default the request's), its `language` (by default what is found in
    that text), and each of its declared `inputs` by its name."""
    take: tuple[Taken, ...] = ()
    """What comes back of its result, under the same names; what was there before is replaced. What the child did not
    write stays as it is. `child.*` says how it ended."""


def _make(name: str, settings: SubWorkflow) -> Node:
    async def workflow(state: State, services: Services) -> dict[str, Any]:
        from langgraph.types import interrupt

        child = await services.children[name].start(state, services)
        while (asked := await child.run()) is not None:
            verdict = interrupt(asked)
            # a node that is resumed gets the verdicts on its earlier questions again
            if verdict["asked_at"] == asked["asked_at"]:
                await child.decide(verdict)
        after: Any = child.state
        ended: Child = {
            "workflow": after["run"]["workflow"],
            "run": after["run"]["id"],
            "status": "answered" if after["run"]["status"] == "answered" else "refused",
        }
        update: dict[str, Any] = {"child": ended}
        update |= {key: after[key] for key in settings.take if key in after}
        if "answer" in update:
            update["answer"] = {**update["answer"], "by": name}
        # a text rests on its sources, whoever retrieved them
        earlier = state.get("earlier_documents", [])
        known = [*earlier, *update.get("documents", ())]
        rests_on = [one for one in retrieved(after) if one not in known]
        if rests_on and settings.take:
            update["earlier_documents"] = [*earlier, *rests_on]
        return update

    return workflow


WORKFLOW = NodeKind(
    name="workflow",
    doc="Run another workflow as a step, and take what it declares of its result.",
    settings=SubWorkflow,
    make=_make,
    writes=frozenset({"child", "earlier_documents", *get_args(Taken)}),
    tells=("child.run",),
    observation="agent",
)
