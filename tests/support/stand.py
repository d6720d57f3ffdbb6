"""A workflow on fakes, being served: real versions, checkpoints, store and approvals, no model.

A text with "hold" in it is not answered before `let_go`, one with a number of seconds, such as "wait 0.5", takes so
long; "access" waits for a person.
"""

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from sluicegate import Limits, Service
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.versions import keep
from sluicegate.home import home
from sluicegate.observe.tracing.exporter import Exporter
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import policy_files
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.services import Classification, Message, ModelRequest
from sluicegate.serving.http.app import application
from sluicegate.serving.http.callers import Callers, TrustedHeader
from sluicegate.serving.http.connections import Connections
from sluicegate.serving.http.server import Certificate, serve
from sluicegate.serving.workflows import Workflows
from sluicegate.storage.database import place
from tests.support.fakes import FakeModels, FakeRouter, services
from tests.support.flows import runner
from tests.support.waiting import until

GATEWAY = TrustedHeader("x-user", "x-roles")
WORKFLOW = Path("configs/patterns/7-shadow-evaluation")
TEXT = (Path(__file__).parents[2] / WORKFLOW / "workflow.yaml").read_text("utf-8")


def written(file: Path, name: str = "", text: str = TEXT) -> Path:
    """A workflow of this name in a file, with what it needs beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("workflow: shadow-evaluation", f"workflow: {name}") if name else text)
    for folder in ("prompts", "knowledge", "router", "examples"):
        shutil.copytree(WORKFLOW / folder, file.parent / folder, dirs_exist_ok=True)
    return file


class Patient(FakeModels):
    """Takes as long as the request says; its answers name the version that gave them."""

    def __init__(self, version: str) -> None:
        self._go = home() / "go"
        super().__init__({"slm": f"Version {version} [1].", "llm": f"Version {version} [1]."})
        self.at_once = self.most_at_once = 0

    async def chat(self, request: ModelRequest) -> Any:
        said: tuple[Message, ...] = tuple(request.messages)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        found = re.search(r"wait ([\d.]+)", said[0].content)
        await asyncio.sleep(float(found[1]) if found else 0)
        while "hold" in said[0].content and not self._go.exists():
            await asyncio.sleep(0.01)
        self.at_once -= 1
        return await super().chat(request)


def let_go() -> None:
    """Let whatever is held in this home, by any process, be answered."""
    (home() / "go").touch()


class ByWord(FakeRouter):
    async def classify(self, text: str) -> Classification:
        self.label = "access" if "access" in text else "question"
        return await super().classify(text)


class OnFakes(Opened):
    def warm(self) -> None: ...


def version(source: Path | Workflow, exporters: Sequence[Exporter] = ()) -> Opened:
    """As `open_workflow`, with fakes behind."""
    workflow = source if isinstance(source, Workflow) else load(source)
    keep(workflow)
    store = open_store()
    tracer = RecordingTracer(store, exporters)
    given = services(
        models=Patient(workflow.version),
        router=ByWord(),
        policy=CedarEngine(policy_files(), switch=KillSwitch()),
        tracer=tracer,
        now=clock,
    )
    facts = replace(given.workflow, name=workflow.name, version=workflow.version, digest=workflow.digest)
    held = workflow.config.conversation
    talks = held and Conversations(place(), workflow.name, held, now=clock)
    made: Any = runner(home(), replace(given, workflow=replace(facts, cache_ttl_s=0.0)), conversations=talks)
    opened = OnFakes(workflow, made, None, tracer, RouteBounds(workflow.flow, workflow.settings))  # type: ignore[arg-type]
    if talks:
        opened.parts.callback(talks.close)
    for part in (store, tracer, made.graph.checkpointer, made._approvals):
        opened.parts.callback(part.close)
    return opened


def broken(source: Path | Workflow) -> Opened:
    """A version whose models fail with the words of a request."""
    opened = version(source)
    models = FakeModels(fails=ValueError("the words of ann"))
    opened.runner.services = replace(opened.runner.services, models=models)
    return opened


def clock() -> datetime:
    return datetime.now(UTC)


class NoShadow:
    """In the place of `ShadowProcess`: remembers what it was offered."""

    state = "none"

    def __init__(self, workflow: str) -> None:
        self.offered: list[str] = []

    def refresh(self) -> None: ...

    def offer(self, outcome: Any) -> str:
        self.offered.append(outcome.run)
        return ""

    def close(self) -> None: ...


def service(config: Path = WORKFLOW / "workflow.yaml", **options: Any) -> Service:
    return Service(config, **{"open_version": version, "beside": NoShadow, **options})


@contextmanager
def served(
    given: Service | Workflows | None = None, callers: Callers = GATEWAY, connections: int = 1000, port: int = 0
) -> Iterator[httpx.Client]:
    """A client of a server on the loopback address, as ann."""
    workflows = given if isinstance(given, Workflows) else Workflows([given or service()])
    making: Any = Connections(connections)
    config = uvicorn.Config(
        application(workflows, callers), port=port, http=making, log_config=None, lifespan="on", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"x-user": "ann", "x-roles": "employee"}, timeout=30
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)


def serve_alone(
    folder: str, limits: Limits, started: Callable[[str], None], certificate: Certificate | None = None
) -> None:
    """The same in a process of its own, until it is told to end; `started` gets its address."""
    os.environ["SLUICEGATE_HOME"] = folder
    serve(
        Workflows([service(limits=limits)]), GATEWAY, host="127.0.0.1", port=0, certificate=certificate, started=started
    )
