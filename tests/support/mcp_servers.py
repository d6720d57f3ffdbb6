"""MCP servers of a test's own: a script that the operator lists."""

import json
import sys
from pathlib import Path

__all__ = ["listed"]


def listed(name: str, script: str, log: Path, *, home: Path) -> Path:
    """Have the operator of `home` list one server, which is given `log` to write its calls to; that file."""
    file = log.with_name(f"{name}.py")
    file.write_text(script)
    entry = {"command": sys.executable, "args": [str(file), str(log)], "timeout_s": 5}
    home.mkdir(parents=True, exist_ok=True)
    (home / "mcp.json").write_text(json.dumps({"mcpServers": {name: entry}}))
    return log
