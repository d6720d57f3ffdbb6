"""What somebody has reviewed of each tool, and how what a server offers now differs from it.

A contract is all that a model or a policy goes by: name, title, description, schemas and annotations. It is pinned as a
whole, so that a review shows in a diff what has changed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from sluicegate.errors import ConfigError, Place, Problem, UnwritableError
from sluicegate.files import read_bounded

__all__ = ["Contract", "contract_of", "digest", "faults", "read_pins", "texts_of", "write_pins"]

Contract: TypeAlias = dict[str, Any]
"""A tool as the protocol describes it, without icons and metadata."""

_MOST = 5_000_000
"""Bytes of a file of pins."""
_KEYS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
_PINS = TypeAdapter(dict[str, dict[str, dict[str, Any]]])


def contract_of(tool: Any) -> Contract:
    """The contract of one `mcp_types.Tool`."""
    said = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: said[key] for key in _KEYS if key in said}


def digest(contract: Contract) -> str:
    """SHA-256 of a contract, for records."""
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


def faults(pinned: Mapping[str, Contract], now: Mapping[str, Contract]) -> Iterator[tuple[str, str]]:
    """The tools that a server offers otherwise than was pinned, each with how."""
    for tool, contract in pinned.items():
        differs = [key for key in _KEYS if contract.get(key) != now.get(tool, {}).get(key)]
        if tool not in now:
            yield tool, "is not offered any more"
        elif differs:
            yield tool, f"has another {', '.join(differs)} than was pinned"
    for tool in now.keys() - pinned.keys():
        yield tool, "was not pinned"


def texts_of(value: Any) -> Iterator[str]:
    """Every text of a contract that a model reads: its descriptions and titles, those of its arguments too."""
    if isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            if key in ("description", "title") and isinstance(part, str):
                yield part
            else:
                yield from texts_of(part)
    elif isinstance(value, list):
        for part in cast("list[Any]", value):
            yield from texts_of(part)


def read_pins(file: Path) -> dict[str, dict[str, Contract]]:
    """The contracts of a file by server and tool; none where there is no file. Raises `ConfigError` SG117."""
    try:
        return _PINS.validate_json(read_bounded(file, _MOST), strict=True)
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise ConfigError([Problem("SG117", f"cannot read the pins: {error}", Place(str(file), 1, 1))]) from error


def write_pins(file: Path, pins: Mapping[str, Iterable[Contract]]) -> None:
    """Raises `RunError` SG607."""
    said = {server: {one["name"]: one for one in sorted(tools, key=_name)} for server, tools in sorted(pins.items())}
    try:
        # in ASCII: a letter that only looks like another one shows in the review
        file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableError(f"cannot write {file}: {error.strerror}", hint="Choose another `pins`") from error


def _name(contract: Contract) -> str:
    return contract["name"]
