"""The registry of tools: the built-in ones and those of installed packages."""

import functools
from collections.abc import Mapping

from sluicegate.nodes.tools.example_tickets import CREATE_TICKET, FIND_TICKETS
from sluicegate.nodes.tools.tool import Tool
from sluicegate.plugins import with_installed

__all__ = ["tools"]


@functools.cache
def tools() -> Mapping[str, Tool]:
    """Every tool by name. Raises `ConfigError` SG117 when an installed plug-in is broken or takes a name twice."""
    return with_installed((CREATE_TICKET, FIND_TICKETS), group="sluicegate.tools", of=Tool, code="SG117", what="tool")
