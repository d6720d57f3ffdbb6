"""Ray as the engine: actors that each keep the work open, on this machine or on the cluster that `RAY_ADDRESS` names.

Ray places the actors, sends them the items, and starts one that was killed again with the item it was at. It does not
read the input: its reader of JSON lines fails as a whole at a row that is none, and its blocks are not the same where
another number of them is asked for, which a resume needs.
"""

import os
import pickle
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from sluicegate.batch.engines.engine import EngineWork, Worker
from sluicegate.errors import RunError
from sluicegate.extras import extra
from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed

__all__ = ["RayEngine"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_RETRIES = 3
"""How often an item is tried again whose actor died; after that it is the item that kills them."""
_AHEAD = 2
"""Items of an actor at a time: one that it does, and one that waits for it."""
_STARTS = 3
"""Ray gives its processes 15 seconds to start; where the machine is busy, or they are compiled first, that is short."""
_STORE_BYTES = 128 * 2**20
"""Of the store that objects are shared in; items and results are small and not shared."""
_FORWARDED = ("SLUICEGATE_", "AWS_", "OPENAI_", "OLLAMA_", "LANGFUSE_", "OTEL_")
"""Beginnings of the variables that actors on this machine are given, as this process has them now. The machines of a
cluster have theirs."""


class RayEngine:
    """Actors of Ray, each with one processor."""

    def __init__(self, workers: int = 0) -> None:
        """Connects to `RAY_ADDRESS`, or starts Ray on the loopback address of this machine, without its dashboard and
        without usage reports. Raises `RunError` SG709."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # the caller's own messages are enough, and an environment is not built anew for each actor
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # nor is one where this process was started by `uv run`: Ray would send the folder with all that is in it
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        with extra("ray", "--engine ray", partial(RunError, "SG709")), postponed(SCHEMA_FORMATS):
            import ray
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            self._start(workers)
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, work: "EngineWork[Item, Result]", items: Iterable[Item]) -> Iterator[Result]:
        """As `Engine.map`. Raises `RunError` SG709 when an item's actors die one after the other."""
        ray = self._ray
        made = ray.remote(_Actor).options(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)
        actors: list[Any] = []
        left = iter(items)
        busy: dict[Any, Any] = {}

        def next_of(actor: Any) -> None:
            for item in left:
                busy[actor.do.remote(pickle.dumps(item))] = actor
                return

        try:
            # an actor is a process that imports and opens the work: none is started that nothing is left for
            for item in islice(left, self.workers):
                actors.append(made.remote(pickle.dumps(work), _environment()))
                busy[actors[-1].do.remote(pickle.dumps(item))] = actors[-1]
            for _ in range(1, _AHEAD):
                for actor in actors:
                    next_of(actor)
            while busy:
                (done,), _ = ray.wait([*busy], num_returns=1)
                actor = busy.pop(done)
                next_of(actor)
                yield self._result(done)
            ray.get([actor.close.remote() for actor in actors])
        finally:
            for actor in actors:
                ray.kill(actor)

    def close(self) -> None:
        """Stop Ray, where this engine has started it."""
        if self._started:
            self._ray.shutdown()

    def _result(self, done: Any) -> Any:
        from ray.exceptions import RayActorError, RayTaskError

        try:
            return pickle.loads(self._ray.get(done))  # noqa: S301 - of our own actor
        except RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except RayActorError as error:
            what = f"an actor died {_RETRIES + 1} times at the same block: {str(error).splitlines()[0]}"
            raise RunError("SG709", what, hint="Look at Ray's logs; the machine may be out of memory") from error

    def _start(self, workers: int) -> None:
        how: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
        if address := os.environ.get("RAY_ADDRESS"):
            what, starts = f"no Ray cluster at {address}", 1
            hint = (
                "Check RAY_ADDRESS, or unset it to use this machine. A cluster that asks for a token: set"
                " RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where it is not in ~/.ray/auth_token"
            )
        else:
            what, starts = "Ray does not start", _STARTS
            hint = "Try again when the machine is less busy; Ray's logs are in /tmp/ray/session_latest/logs"
            how |= {
                "num_cpus": workers or None,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
        for attempt in range(1, starts + 1):
            try:
                with nullcontext() if address else _this_machine_only():
                    self._ray.init(**how)
            except Exception as error:  # Ray raises plain exceptions
                _end_what_was_started(error)
                self._ray.shutdown()
                if attempt == starts:
                    raise RunError("SG709", f"{what}: {error}", hint=hint) from error
            else:
                return


@contextmanager
def _this_machine_only() -> Generator[None]:
    """Ray would take the address of a network for "127.0.0.1", and listen to all of them, with nothing to keep others
    out; where it is told that there are no clusters, as on Windows, it is content with the loopback address."""
    from ray._private import ray_constants

    constants: Any = ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _end_what_was_started(error: Exception) -> None:
    """Ray forgets the processes of a start that fails: only what was at work when it failed still has them."""
    from ray._private.node import Node

    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False)


class _Actor:
    """Runs in a process of its own."""

    def __init__(self, work: bytes, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        # as many busy inference threads as there are processors for all actors, and no more
        os.environ.setdefault("SLUICEGATE_THREADS", "1")
        self._worker: Worker[Any, Any] = pickle.loads(work).open()  # noqa: S301 - of our own driver

    def do(self, item: bytes) -> bytes:
        return pickle.dumps(self._worker(pickle.loads(item)))  # noqa: S301 - of our own driver

    def close(self) -> None:
        self._worker.close()


def _environment() -> dict[str, str]:
    if os.environ.get("RAY_ADDRESS"):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith(_FORWARDED)}
