"""A ticket desk as an MCP server, for the firewall of firewall.yaml to stand before; it forgets all when it ends."""

from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("desk")
tickets: list[dict[str, str]] = [
    {"title": "Printer on floor 2 is offline", "category": "hardware", "from": "eve@example.org"},
]


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find(words: str) -> dict[str, Any]:
    """Find open tickets by words of their title."""
    return {"tickets": [each for each in tickets if words.lower() in each["title"].lower()]}


@server.tool(annotations=ToolAnnotations(destructive_hint=False))
def open_ticket(title: str, category: str, urgency: Literal["low", "normal", "high"] = "normal") -> dict[str, Any]:
    """Open a ticket."""
    tickets.append({"title": title, "category": category, "urgency": urgency})
    return {"opened": title, "open": len(tickets)}


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def close_category(category: str) -> dict[str, Any]:
    """Close every ticket of a category."""
    closed = [each for each in tickets if each["category"] == category]
    tickets[:] = [each for each in tickets if each["category"] != category]
    return {"closed": len(closed)}


if __name__ == "__main__":
    server.run("stdio")
