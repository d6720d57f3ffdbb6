"""Tools: typed Python functions that a workflow may call, once per business action."""

from sluicegate.nodes.tools.box import ToolBox
from sluicegate.nodes.tools.registry import Tool, tool, tools

__all__ = ["Tool", "ToolBox", "tool", "tools"]
