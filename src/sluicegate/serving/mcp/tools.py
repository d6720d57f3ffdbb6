"""What the tools of the MCP server say of themselves: one for each workflow, and a few for runs that are not over.

All of it is the operator's configuration or written here. Nothing of a document, a request or a model becomes part of
it: a client's model reads these words as instructions.
"""

from collections.abc import Sequence

from mcp.types import Tool, ToolAnnotations
from pydantic import BaseModel

from sluicegate.graphs.config.load import Workflow
from sluicegate.serving.http.messages import Approvals
from sluicegate.serving.mcp.messages import (
    ApprovalsCall,
    DecisionCall,
    ReplyCall,
    RunCall,
    RunResult,
    WorkflowCall,
    WorkflowCallWithTables,
)

__all__ = ["ANSWER", "APPROVALS", "DECIDE", "FIND", "OWN", "arguments_of", "tools_of"]

FIND, ANSWER, APPROVALS, DECIDE = OWN = ("get_run", "answer_question", "list_approvals", "decide_approval")
"""The tools for runs. A workflow of one of these names is not offered."""

_TABLES = "request.attachments"


def tools_of(workflows: Sequence[Workflow]) -> list[Tool]:
    """A tool for each workflow, and those for their runs that some workflow has use for."""
    family = [one for each in workflows for one in each.family]
    does = {effect for one in family for node in one.flow.nodes.values() for effect in node.effects}
    tools = [
        _tool(each.name, each.config.purpose, arguments_of(each), RunResult, _hints(each))
        for each in workflows
        if each.name not in OWN
    ]
    tools.append(_tool(FIND, "What became of a run, by its id.", RunCall, RunResult, _READS))
    if "asks-requester" in does:
        said = "Pass on the requester's own answer to the `question` of a run that waits for it; the run then goes on."
        tools.append(_tool(ANSWER, said, ReplyCall, RunResult, _CONTINUES))
    if "asks-human" in does:
        said = "The runs that wait for a decision of the caller, longest-waiting first, with the evidence for it."
        tools.append(_tool(APPROVALS, said, ApprovalsCall, Approvals, _READS))
        said = (
            "Carry out the decision that the approver has made on a run which waits for it. Show them the draft or the "
            "proposed call first; the decision is theirs."
        )
        tools.append(_tool(DECIDE, said, DecisionCall, RunResult, _CONTINUES))
    return tools


def arguments_of(workflow: Workflow) -> type[WorkflowCall]:
    """What a workflow is called with."""
    given = (condition for child in workflow.gives.values() for condition in child.values())
    read = (*workflow.conditions.values(), *workflow.lists.values(), *given)
    return WorkflowCallWithTables if any(_TABLES in condition.fields for condition in read) else WorkflowCall


_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_CONTINUES = ToolAnnotations(
    read_only_hint=False,
    # the run may then do whatever was waiting for it
    destructive_hint=True,
    # the second of two decisions is refused
    idempotent_hint=True,
    open_world_hint=True,
)


def _hints(workflow: Workflow) -> ToolAnnotations:
    """By the tools that it may call, in sub-workflows too."""
    effects = [one.resolved.tools[name].effects for one in workflow.family for name in one.tools]
    return ToolAnnotations(
        read_only_hint=not any(effects),
        # nobody has declared of a tool that changes something what it leaves alone
        destructive_hint=any(effects),
        # a second call without a `request_id` is a second run
        idempotent_hint=not any(effects),
        open_world_hint=bool(effects),
    )


def _tool(name: str, description: str, takes: type[BaseModel], gives: type[BaseModel], hints: ToolAnnotations) -> Tool:
    return Tool(
        name=name,
        description=description,
        input_schema=takes.model_json_schema(),
        output_schema=gives.model_json_schema(mode="serialization"),
        annotations=hints,
    )
