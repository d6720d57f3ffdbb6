"""What the tools of the MCP server say of themselves: one for each workflow, and a few for runs that are not over.

All of it is the operator's configuration or written here. Nothing of a document, a request or a model becomes part of
it: a client's model reads these words as instructions.
"""

from mcp.types import Tool, ToolAnnotations

from sluicegate.graphs.config.load import Workflow
from sluicegate.serving.mcp.messages import RunResult, WorkflowCall, WorkflowCallWithTables

__all__ = ["arguments_of", "workflow_tool"]


def workflow_tool(workflow: Workflow) -> Tool:
    """A workflow as a tool."""
    effects = _effects(workflow)
    return Tool(
        name=workflow.name,
        description=workflow.config.purpose,
        input_schema=arguments_of(workflow).model_json_schema(),
        output_schema=RunResult.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            read_only_hint=not any(effects),
            # nobody has declared what a tool that changes something does not do
            destructive_hint=any(effects),
            # a second call without a `request_id` is a second run
            idempotent_hint=not any(effects),
            open_world_hint=bool(effects),
        ),
    )


def arguments_of(workflow: Workflow) -> type[WorkflowCall]:
    """What a workflow is called with."""
    return WorkflowCallWithTables if _takes_tables(workflow) else WorkflowCall


def _effects(workflow: Workflow) -> list[bool]:
    """Of each tool that it may call, in sub-workflows too, whether that changes anything."""
    return [one.resolved.tools[name].effects for one in workflow.family for name in one.tools]


def _takes_tables(workflow: Workflow) -> bool:
    read = (
        *workflow.conditions.values(),
        *workflow.lists.values(),
        *(g for n in workflow.gives.values() for g in n.values()),
    )
    return any("request.attachments" in condition.fields for condition in read)
