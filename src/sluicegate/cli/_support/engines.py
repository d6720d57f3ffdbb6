"""The options of commands whose work an engine does."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sluicegate.batch.engines.engine import Engine

__all__ = ["Actors", "EngineOption", "engine_named"]

EngineOption = Annotated[str, typer.Option("--engine", help="local (this process) or ray.")]
Actors = Annotated[int, typer.Option(min=0, help="Actors of Ray; 0 for one per processor.")]


def engine_named(name: str, actors: int) -> "Engine":
    """The engine. Raises `BadParameter` for an unknown one, `RunError` SG709 when it is missing or cannot start."""
    from sluicegate.batch.engines.factory import open_engine

    if name not in ("local", "ray"):
        raise typer.BadParameter("choose local or ray", param_hint="--engine")
    return open_engine("ray" if name == "ray" else "local", workers=actors)
