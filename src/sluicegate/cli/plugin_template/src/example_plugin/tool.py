"""The tool `example_plugin_roll_dice`: its arguments' JSON Schema comes from the function's signature."""

import random
from typing import Annotated, Any

from pydantic import Field

from sluicegate import ToolContext, tool


@tool("example_plugin_roll_dice", effects=False)
def roll_dice(context: ToolContext, sides: Annotated[int, Field(ge=2, le=100)] = 6) -> dict[str, Any]:
    """Roll one die; the same idempotency key gives the same roll."""
    return {"rolled": random.Random(context.key).randint(1, sides)}  # noqa: S311 - a game
