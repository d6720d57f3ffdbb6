"""Chooses the engine by its name."""

from sluicegate.batch.engines.engine import Engine, EngineName, LocalEngine

__all__ = ["open_engine"]


def open_engine(name: EngineName, *, workers: int = 0) -> Engine:
    """`workers`: 0 for as many as there are processors. Raises `RunError` SG709 when Ray is missing or cannot start."""
    if name == "local":
        return LocalEngine()
    from sluicegate.batch.engines.ray_engine import RayEngine

    return RayEngine(workers)
