"""Who does the work: this process, or actors of Ray. One protocol, so that what is done does not depend on it."""

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeVar

__all__ = ["Engine", "EngineName", "EngineWork", "LocalEngine", "Worker"]

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")

EngineName = Literal["local", "ray"]


class Worker(Protocol[T, R]):
    """What is kept open for all items, such as a workflow."""

    def __call__(self, item: T) -> R: ...

    def close(self) -> None: ...


class EngineWork(Protocol[T, R]):
    """What is done with each item; it may be sent to another process before it is opened there."""

    def open(self) -> Worker[T, R]: ...


class Engine(Protocol):
    workers: int

    def map(self, work: "EngineWork[Item, Result]", items: Iterable[Item]) -> Iterator[Result]:
        """The results, as they come. An item whose worker dies is done again by another one. The error of an item
        ends the iteration."""
        ...

    def close(self) -> None: ...


class LocalEngine:
    """This process: one item after the other."""

    workers = 1

    def map(self, work: "EngineWork[Item, Result]", items: Iterable[Item]) -> Iterator[Result]:
        worker = work.open()
        try:
            for item in items:
                yield worker(item)
        finally:
            worker.close()

    def close(self) -> None:
        """Nothing is open."""
