"""What governing a run costs: the helpdesk with instant models, beside a graph written by hand for the same job.

    python benchmarks/governed.py [--runs N] [--batches N] [--json] [--record]

Both answer the same questions through the same steps: classify, gate (two guards, Cedar), cache, hybrid retrieval with
a guard on each passage, quoted answer, six guards on it, reply. Models answer at once: embeddings are those of the
embedded encoders, looked up by their text, and the small model picks the first sentence. Index, policies, guards, audit
and SQLite files are real. The graph written by hand (`hand_written.py`) has LangGraph's SQLite saver, Langfuse's
callback handler and guardrails-ai; ``ours, with Langfuse`` is ours with the same loopback server for its traces, and
``LangGraph alone`` is the graph written by hand with nodes that do nothing: what no mending of ours can save.

Each variant is a process of its own and they take turns, a batch each; figures are medians over batches. CPU is that of
all threads. Shares of rooms come from extra batches in which a profiling timer looks at every thread's stack and books
the processor time that the thread has used since; ``native`` is that of threads that run no Python
(LanceDB's, the BLAS library's). *Kept* is by how much the files have grown, and which tables and indexes of them, once
their write-ahead logs are folded in. *Written* is all that was put into files: growth of the logs while a reader holds
them open, so that they are not reused, plus what was rewritten in place, which is the rest of the bytes that the system
says were written.
"""

import argparse
import asyncio
import contextlib
import io
import json
import logging
import multiprocessing
import os
import re
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results

HELPDESK = ROOT / "configs" / "helpdesk" / "workflow.yaml"
QUESTIONS = (
    "Is colour printing allowed?",
    "How do I scan a contract to my mail?",
    "How do I share my calendar with a colleague?",
    "What do I do when the paper jams in the printer?",
)
RISKY = "I clicked on a phishing link and entered my password"
"""Of a high-risk class: what is drafted waits for a person."""
WAITING = (0, 100, 1_000)
"""Runs that wait for a person while the service sweeps."""
VARIANTS = ("ours", "ours, with Langfuse", "by hand", "LangGraph alone")

Once = Callable[[int], Awaitable[None]]


def numbered(number: int) -> str:
    """A question that was not asked before: no answer comes from the cache."""
    return f"{QUESTIONS[number % len(QUESTIONS)]} (asked {number})"


class Instant:
    """A provider that has every answer ready. Embeddings are made once per text, and the number of the question is not
    part of it."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._known: dict[str, Sequence[float]] = {}

    async def chat(self, request: Any) -> Any:
        from sluicegate.models.provider import ModelResponse

        return ModelResponse('{"sentences": [1]}' if request.schema else "Yes.", 200, 6, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> Sequence[Sequence[float]]:
        from sluicegate.models.config import ModelConfig
        from sluicegate.models.providers.registry import provider_for

        bare = [re.sub(r" \(asked \d+\)", "", text) if text.endswith(")") else text for text in texts]
        if missing := [text for text in dict.fromkeys(bare) if text not in self._known]:
            use = self._config.use if self._config.use.startswith("embedded:") else "embedded:all-minilm-l6-v2"
            made = await provider_for(ModelConfig(use=use)).embed(missing)
            self._known.update(zip(missing, made, strict=True))
        return [self._known[text] for text in bare]

    async def identity(self) -> str:
        return self._config.use

    async def warm(self) -> None: ...


def instant_models() -> Any:
    from sluicegate.graphs.config.load import load
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig

    # as where there is no server, and as in every measurement so far
    slm = ModelConfig(use="embedded:smollm2-135m")
    return ModelSet({**load(HELPDESK).config.models, "slm": slm}, provider_of=Instant)


def ours() -> Once:
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.intake import principal

    runner = open_workflow(HELPDESK, models=instant_models()).runner
    asker = principal("ann", ["employee"], clearance="internal")

    async def once(number: int) -> None:
        outcome = await runner.run(numbered(number), asker)
        assert outcome.path == "rag-slm", outcome.path
        assert outcome.status == "answered"

    return once


def by_hand(*, empty: bool = False) -> Once:
    from benchmarks import hand_written

    return hand_written.graph(Path(os.environ["SLUICEGATE_HOME"]), instant_models(), numbered, empty=empty)


# --- what a batch takes ---


class Sampler:
    """Books each thread's processor time on the room that its stack stands in, some 250 times per second of it.

    By a signal to the main thread: a thread that samples would see the others mostly where they let it run.
    """

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._before: dict[int, float] = {}

    def __enter__(self) -> "Sampler":
        self._look(0, sys._getframe())
        self.spent.clear()
        self._began = time.process_time()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, 0.002, 0.002)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        rest = time.process_time() - self._began - sum(self.spent.values())
        self.spent["native"] += max(rest, 0.0)

    def _look(self, _number: int, here: Any) -> None:
        me = threading.get_ident()
        for thread, frame in sys._current_frames().items():
            with suppress(OSError):
                now = time.clock_gettime(time.pthread_getcpuclockid(thread))
                if thread in self._before:
                    self.spent[room_of(here if thread == me else frame)] += now - self._before[thread]
                self._before[thread] = now


ROOMS = {
    "/policies/guards/": "guards", "/guardrails/": "guards: guardrails-ai", "/guardrails_ai/": "guards: guardrails-ai",
    "/policies/cedar/": "Cedar", "/cedarpy/": "Cedar", "/policies/ledger/": "ledger", "/policies/cache/": "cache",
    "/observe/audit": "audit", "/observe/": "tracing", "/langfuse/": "tracing", "/opentelemetry/": "tracing",
    "/retrieval/": "retrieval", "/lancedb/": "retrieval", "/checkpoint": "checkpoints", "/aiosqlite/": "checkpoints",
    "/langgraph/": "LangGraph", "/langchain_core/": "LangChain", "/models/": "models", "/routing/": "routing",
    "/nodes/": "nodes", "/graphs/": "graphs", "/hand_written": "nodes", "/asyncio/": "event loop",
}  # fmt: skip


def room_of(frame: Any) -> str:
    """The innermost frame that belongs to a room; the standard library and shared helpers belong to who called."""
    while frame is not None:
        file = frame.f_code.co_filename
        for part, room in ROOMS.items():
            if part in file:
                return room
        frame = frame.f_back
    return "other"


def written_bytes() -> int:
    """Bytes that this process has handed to the system for files, sockets and pipes."""
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))
    return int(line.split()[1])


def sizes(home: Path) -> dict[str, int]:
    files = (path for path in home.rglob("*") if path.is_file() and "indexes" not in path.parts)
    return {path.name: path.stat().st_size for path in files if not path.name.endswith("-shm")}


def folded(home: Path) -> dict[str, int]:
    """Sizes of files, and of each table and index of those that are databases, with write-ahead logs folded in."""
    found = {name: size for name, size in sizes(home).items() if ".sqlite" not in name}
    for path in home.glob("**/*.sqlite"):
        if "indexes" in path.parts:
            continue
        with sqlite3.connect(path, timeout=10) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
        connection.close()
        found |= {f"{path.name} {name}": size for name, size in pages}
    return found


def growth(before: dict[str, int], after: dict[str, int], runs: int) -> dict[str, float]:
    grown = {name: (size - before.get(name, 0)) / runs for name, size in after.items()}
    return {name: bytes_ for name, bytes_ in sorted(grown.items(), key=lambda item: -item[1]) if bytes_ > 0}


def holders(home: Path) -> list[sqlite3.Connection]:
    """Readers that keep SQLite from starting a log over."""
    made = [sqlite3.connect(path, isolation_level=None, timeout=10) for path in home.glob("**/*.sqlite")]
    for connection in made:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return made


def child(variant: str, home: str, langfuse: str, runs: int, pipe: Any) -> None:
    """Run batches as they are asked for."""
    os.environ["SLUICEGATE_HOME"] = home
    # Langfuse's handler says at each call that it does not know the fake model
    logging.disable(logging.WARNING)
    if langfuse:
        os.environ.update(LANGFUSE_PUBLIC_KEY="pk-lf-test", LANGFUSE_SECRET_KEY="sk-lf-test", LANGFUSE_HOST=langfuse)
    place, count = Path(home), 0

    async def work() -> None:
        nonlocal count
        once = ours() if variant.startswith("ours") else by_hand(empty=variant == "LangGraph alone")

        async def batch(size: int) -> float:
            nonlocal count
            began = time.process_time()
            for _ in range(size):
                await once(count)
                count += 1
            # what is done behind a run's back is part of its cost
            await asyncio.sleep(0.1)
            return (time.process_time() - began) / size * 1000

        await batch(12)
        pipe.send("ready")
        while (wanted := await asyncio.to_thread(pipe.recv)) != "end":
            if wanted == "cpu":
                pipe.send(await batch(runs))
            elif wanted == "rooms":
                with Sampler() as sampler:
                    await batch(runs)
                pipe.send(dict(sampler.spent))
            else:
                before = await asyncio.to_thread(folded, place)
                await batch(runs)
                kept = growth(before, await asyncio.to_thread(folded, place), runs)
                held = holders(place)
                logs, began = sizes(place), written_bytes()
                await batch(runs)
                total = (written_bytes() - began) / runs
                grown = growth(logs, sizes(place), runs)
                for connection in held:
                    connection.close()
                if not langfuse:
                    grown["rewritten in place"] = total - sum(grown.values())
                pipe.send({"kept": kept, "written": grown})

    asyncio.run(work())
    # exporters may still have something to send; nobody waits for it
    os._exit(0)


class Variant:
    def __init__(self, name: str, home: str, langfuse: str, runs: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        args = (name, home, langfuse, runs, other)
        self._process = context.Process(target=child, args=args, daemon=True)
        self._process.start()
        self.ask()

    def ask(self, wanted: str = "") -> Any:
        if wanted:
            self._pipe.send(wanted)
        if not self._pipe.poll(300):
            raise SystemExit("a variant gives no answer")
        return self._pipe.recv()

    def end(self) -> None:
        self._pipe.send("end")
        self._process.join(30)


# --- the sweep of a service over what waits ---


def sweeps() -> dict[str, float]:
    """CPU milliseconds of one sweep of an idle service, by how many runs wait for a person."""
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.serving.service import Service

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        ingest(home)

        async def work() -> None:
            async with Service(HELPDESK) as service:
                from sluicegate.graphs.runtime.factory import open_workflow

                asker = principal("ann", ["employee"])
                runner = open_workflow(HELPDESK, models=instant_models()).runner
                waiting = 0
                for wanted in WAITING:
                    for number in range(waiting, wanted):
                        outcome = await runner.run(f"{RISKY} (asked {number})", asker)
                        assert outcome.status == "waiting", outcome.path
                    waiting = wanted
                    await service.executor.sweep.once()
                    times: list[float] = []
                    for _ in range(3):
                        began = time.process_time()
                        await service.executor.sweep.once()
                        times.append((time.process_time() - began) * 1000)
                    found[str(wanted)] = statistics.median(times)

        asyncio.run(work())
    return found


def ingest(home: str) -> None:
    os.environ["SLUICEGATE_HOME"] = home
    from sluicegate.cli import main

    with suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        sys.argv = ["sluicegate", "ingest", str(HELPDESK)]
        main()


def measure(runs: int, batches: int) -> dict[str, Any]:
    from benchmarks.tracing import serve

    context = multiprocessing.get_context("spawn")
    ready, stop = context.Queue(), context.Event()
    server = context.Process(target=serve, args=(ready, stop), daemon=True)
    server.start()
    url = ready.get(timeout=60)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        variants: dict[str, Variant] = {}
        for number, name in enumerate(VARIANTS):
            home = f"{folder}/{number}"
            ingesting = context.Process(target=ingest, args=(home,))
            ingesting.start()
            ingesting.join(300)
            variants[name] = Variant(name, home, "" if name in ("ours", "LangGraph alone") else url, runs)
        times: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(batches):
            for name, variant in variants.items():
                times[name].append(variant.ask("cpu"))
        for name, variant in variants.items():
            cpu = statistics.median(times[name])
            spent: Counter[str] = Counter()
            for _ in range(3):
                spent.update(variant.ask("rooms"))
            whole = sum(spent.values())
            rooms = {room: round(cpu * part / whole, 2) for room, part in spent.most_common() if part / whole > 0.002}
            result[name] = {"cpu_ms": round(cpu, 2), "least_ms": round(min(times[name]), 2), "rooms_ms": rooms}
            result[name] |= {
                what: {"KB": round(sum(files.values()) / 1000, 1), **{file: round(n) for file, n in files.items()}}
                for what, files in variant.ask("bytes").items()
            }
            variant.end()
    stop.set()
    hand = result["by hand"]
    for name in (each for each in VARIANTS if each != "by hand"):
        result[name]["cpu_ratio"] = round(result[name]["cpu_ms"] / hand["cpu_ms"], 2)
        result[name]["kept_ratio"] = round(result[name]["kept"]["KB"] / hand["kept"]["KB"], 2)
    return result


ABOUT = """
The helpdesk answering a question, with instant models: classify, gate, cache, hybrid retrieval with a guard on each
passage, quoted answer, six guards on it, reply, every file real. Beside it a graph written by hand for the same steps,
with LangGraph's SQLite saver, Langfuse's callback handler and guardrails-ai. Processor time is that of all threads,
medians over batches that take turns; *kept* is by how much files have grown, *written* all that was put into them. What
the graph by hand records of a run is on Langfuse's server, and not among its files.
"""


def tables(found: dict[str, Any]) -> list[results.Table]:
    rooms = list(dict.fromkeys(room for name in VARIANTS for room in found[name]["rooms_ms"]))
    whole = results.table(
        ("a run", *VARIANTS),
        ("processor time", *(f"{found[name]['cpu_ms']:.1f} ms" for name in VARIANTS)),
        ("of by hand", *(found[name].get("cpu_ratio", 1) for name in VARIANTS)),
        ("kept", *(f"{found[name]['kept']['KB']} KB" for name in VARIANTS)),
        ("written", *(f"{found[name]['written']['KB']} KB" for name in VARIANTS)),
    )
    spent = ((room, *(f"{found[name]['rooms_ms'].get(room, 0):.1f}" for name in VARIANTS)) for room in rooms)
    kept = dict.fromkeys(what for name in ("ours", "by hand") for what in found[name]["kept"] if what != "KB")
    places = ((what, *(found[name]["kept"].get(what, 0) for name in ("ours", "by hand"))) for what in kept)
    sweeps = ((waiting, f"{ms:.1f} ms") for waiting, ms in found.get("sweep_ms", {}).items())
    return [
        whole,
        results.table(("kept by file and table, bytes a run", "ours", "by hand"), *places),
        results.table(("processor time by room, ms", *VARIANTS), *spent),
        results.table(("runs that wait for a person", "processor time of a server's sweep"), *sweeps),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=40)
    arguments.add_argument("--batches", type=int, default=9)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--no-sweep", action="store_true")
    arguments.add_argument("--record", action="store_true")
    given = arguments.parse_args()
    os.environ.setdefault("SLUICEGATE_THREADS", "1")
    os.environ.setdefault("SLUICEGATE_TRACE_KEY", "00" * 32)
    result = measure(given.runs, given.batches)
    if not given.no_sweep:
        result["sweep_ms"] = {waiting: round(ms, 2) for waiting, ms in sweeps().items()}
    if given.record:
        results.record("governed", "A governed run", ABOUT, tables(result))
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for name in VARIANTS:
        one = result[name]
        print(f"{name}: {one['cpu_ms']} ms CPU a run", f"({one['cpu_ratio']} of by hand)" if "cpu_ratio" in one else "")
        print("  " + ", ".join(f"{room} {ms}" for room, ms in one["rooms_ms"].items()))
        for what in ("kept", "written"):
            files = ", ".join(f"{file} {size}" for file, size in one[what].items() if file != "KB")
            print(f"  {one[what]['KB']} KB {what}: {files}")
    for waiting, ms in result.get("sweep_ms", {}).items():
        print(f"a sweep with {waiting} runs waiting: {ms} ms CPU")


if __name__ == "__main__":
    main()
