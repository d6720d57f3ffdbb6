"""What tracing costs: CPU microseconds per span, all threads together, per kind of exporter.

    python benchmarks/tracing.py [--runs N] [--json] [--record]

A run here is what the helpdesk does: 7 nodes with their branches, a model call, a retrieval, guards, policy, budget and
a tool, on stand-in services whose own small cost is counted. Servers are loopback processes of their own, so that their
CPU does not count. The reference is Langfuse's LangChain callback handler on a chain of 16 runnables, less the chain's
own cost. The minimum over repeats is reported, since other work on the machine only ever adds.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import results as recording

os.environ.setdefault("SLUICEGATE_TRACE_KEY", "00" * 32)

REPEATS = 5
ABOUT = """
A run of seven nodes with its branches, a model call, a retrieval, guards, policy, budget and a tool, on stand-ins whose
own cost is counted. The reference is Langfuse's LangChain callback handler on a chain of 16 runnables, less the chain's
own cost.
"""


def serve(ready: Any, stop: Any) -> None:
    """A receiver in a process of its own."""
    from tests.support.receiver import Receiver

    class Forgetful(Receiver):
        def _traces(self, body: bytes) -> tuple[int, Any]:
            del body
            return 200, {}

        def _scores(self, given: Any) -> tuple[int, Any]:
            del given
            return 202, {"message": "Accepted"}

    with Forgetful() as receiver:
        ready.put(receiver.url)
        stop.wait()


def ours(url: str, *, langfuse: bool, otlp: bool, runs: int, keep: bool = True) -> tuple[float, int]:
    """CPU seconds for `runs` runs until all is stored and sent, and the number of spans."""
    from sluicegate.observe.exporters.export import QueuedExporter
    from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
    from sluicegate.observe.exporters.otlp import OtlpEndpoint, OtlpSender
    from sluicegate.observe.tracing.masking import Masking
    from sluicegate.observe.tracing.store import Store
    from sluicegate.observe.tracing.tracer import RecordingTracer
    from tests.support.receiver import PUBLIC, SECRET
    from tests.support.scenario import first_stretch

    exporters = []
    if langfuse:
        exporters.append(QueuedExporter(LangfuseSender(Keys(PUBLIC, SECRET, url)), capacity=1_000_000))
    if otlp:
        exporters.append(QueuedExporter(OtlpSender(OtlpEndpoint(f"{url}/v1/traces")), capacity=1_000_000))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.sqlite") if keep else None
        tracer = RecordingTracer(store, exporters, Masking())

        async def work(count: int, name: str) -> None:
            for n in range(count):
                await first_stretch(tracer, run=f"{name}-{n}")

        asyncio.run(work(3, "warm"))
        tracer.flush(30)
        started = time.process_time()
        asyncio.run(work(runs, "run"))
        tracer.flush(60)
        spent = time.process_time() - started
        [dropped] = [sum(report.dropped for report in tracer.report())]
        assert not dropped, tracer.report()
        spans = len(store.spans("run-0")) * runs if store else 0
        tracer.close()
        if store:
            store.close()
        return spent, spans


def callback_handler(url: str, runs: int) -> tuple[float, int]:
    """CPU seconds of Langfuse's LangChain callback handler for runs of nested runnables, and its observations."""
    warnings.simplefilter("ignore")
    os.environ.update(LANGFUSE_PUBLIC_KEY="pk-lf-test", LANGFUSE_SECRET_KEY="sk-lf-test", LANGFUSE_HOST=url)
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.runnables import RunnableLambda
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="pk-lf-test", secret_key="sk-lf-test", base_url=url)
    model = FakeListChatModel(responses=["Reset it in the portal [1]."])
    chain: Any = RunnableLambda(lambda text: text)
    for _ in range(14):
        chain = chain | RunnableLambda(lambda text: text)
    chain = chain | model
    observations = 17

    def work(count: int, config: dict[str, Any]) -> float:
        started = time.process_time()
        for _ in range(count):
            chain.invoke("How do I reset my password?", config)
        client.flush()
        return time.process_time() - started

    work(3, {"callbacks": [CallbackHandler()]})
    bare = min(work(runs, {}) for _ in range(2))
    return min(work(runs, {"callbacks": [CallbackHandler()]}) for _ in range(2)) - bare, observations * runs


def best(measure: Callable[[], tuple[float, int]]) -> float:
    """Microseconds per span, the least of some repeats."""
    return min(1e6 * spent / spans for spent, spans in (measure() for _ in range(REPEATS)))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=100)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--record", action="store_true")
    given = arguments.parse_args()
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Queue(), context.Event()
    server = context.Process(target=serve, args=(ready, stop), daemon=True)
    server.start()
    url = ready.get(timeout=60)
    try:
        results = {
            "local store": best(lambda: ours(url, langfuse=False, otlp=False, runs=given.runs)),
            "local store, Langfuse": best(lambda: ours(url, langfuse=True, otlp=False, runs=given.runs)),
            "local store, Langfuse, OTLP": best(lambda: ours(url, langfuse=True, otlp=True, runs=given.runs)),
        }
        spent, spans = callback_handler(url, given.runs)
        results["Langfuse's LangChain callback handler"] = 1e6 * spent / spans
    finally:
        stop.set()
    if given.record:
        rows = [(name, f"{cost:.0f} µs") for name, cost in results.items()]
        recording.record("tracing", "Tracing", ABOUT, [recording.table(("to", "processor time per span"), *rows)])
    if given.json:
        print(json.dumps({"unit": "CPU µs per span", "runs": given.runs, "results": results}, indent=2))
        return
    for name, cost in results.items():
        print(f"{name:42} {cost:7.0f} µs CPU per span")


if __name__ == "__main__":
    main()
