"""The tool `roll_dice`."""

import random
from typing import Annotated, Any

from pydantic import Field

from sluicegate import ToolContext, tool


@tool("roll_dice", effects=False)
def roll_dice(context: ToolContext, sides: Annotated[int, Field(ge=2, le=100)] = 6) -> dict[str, Any]:
    """Roll one die; the same key gives the same roll."""
    return {"rolled": random.Random(context.key).randint(1, sides)}


ROLL_DICE = roll_dice
