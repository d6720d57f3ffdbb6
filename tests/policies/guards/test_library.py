"""What guardrails-ai would do by itself, and does not do here."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sluicegate.policies.guards.library import guardrails, warm

pytestmark = pytest.mark.slow

TEXT = "secret zebra-4711 of bob@example.org, you idiot"


def _run(code: str, home: Path) -> str:
    (home / ".guardrailsrc").write_text("id=me\ntoken=abc\nenable_metrics=true\nuse_remote_inferencing=true\n")
    env = {**os.environ, "HOME": str(home), "GUARDRAILS_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nothing_leaves_the_process_whatever_the_user_file_says(tmp_path: Path) -> None:
    said = _run(
        f"""
        import asyncio, logging, socket, sys, threading
        tried = []
        def refuse(*args, **kwargs):
            tried.append(args)
            raise OSError("blocked")
        socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
        logging.basicConfig(level=logging.DEBUG)

        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        trace.set_tracer_provider(provider)

        from sluicegate.policies.guards.set import GuardSet
        ready = GuardSet()
        async def main():
            with trace.get_tracer("ours").start_as_current_span("outer"):
                return await ready.check(["pii", "secrets", "tone", "injection"], {TEXT!r}, stage="output")
        report = asyncio.run(main())
        assert report.redacted, report
        assert not tried, tried
        ended = spans.get_finished_spans()
        recorded = [(span.name, dict(span.attributes), [event.name for event in span.events]) for span in ended]
        assert recorded == [("outer", {{}}, [])], recorded
        assert [t.name for t in threading.enumerate() if "Otel" in t.name or "Batch" in t.name] == []
        assert "litellm" not in sys.modules
        import gc
        from guardrails.classes.history import Iteration
        assert not any(isinstance(one, Iteration) for one in gc.get_objects()), "the library keeps what it checked"
        """,
        tmp_path,
    )
    assert "zebra" not in said


def test_the_import_leaves_the_module_table_as_it_was() -> None:
    guardrails()
    assert "rfc3987_syntax" not in sys.modules or sys.modules["rfc3987_syntax"] is not None


def test_the_library_logs_nothing() -> None:
    guardrails()
    assert not logging.getLogger("guardrails-ai").isEnabledFor(logging.CRITICAL)


def test_warming_ends() -> None:
    thread = warm()
    thread.join(60)
    assert not thread.is_alive()
