"""What a start loads, and what it leaves alone: the time of a start is the libraries that it imports."""

import json
import os
import subprocess
import sys
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import ROOT

HEAVY = {
    "cedarpy", "guardrails", "httpx", "lancedb", "langchain", "langchain_core", "langfuse", "langgraph", "langsmith",
    "litellm", "matplotlib", "numpy", "opentelemetry", "pyarrow", "pydantic", "rich", "scipy", "sklearn", "spacy",
    "xllamacpp",
}  # fmt: skip
"""None of them is needed to say what the commands are."""

NEVER = {
    "langchain", "langfuse", "litellm", "matplotlib", "pandas", "presidio_analyzer", "scipy", "sklearn", "spacy",
    "torch", "transformers",
}  # fmt: skip
"""None of them is needed to answer a request without keys of Langfuse."""


def _loaded(code: str, **env: str) -> set[str]:
    """The top-level modules that a process of its own has loaded at the end of `code`."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_", "OPENAI_"))}
    tail = "\nprint()\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", "import json, sys\n" + textwrap.dedent(code) + tail],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**bare, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_itself_loads_nothing_heavy() -> None:
    assert _loaded("import sluicegate") & HEAVY == set()


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    assert (
        _loaded(
            """
            from sluicegate.cli import main
            sys.argv = ["sluicegate", "--help"]
            try:
                main()
            except SystemExit as left:
                assert not left.code
            """
        )
        & HEAVY
        == set()
    )


@pytest.mark.slow
def test_a_cold_run_loads_only_what_it_uses(tmp_path: Path) -> None:
    code = """
        import asyncio
        from pathlib import Path
        from sluicegate.cli import main
        for command in (["ingest"], ["run", "--json"]):
            text = ["Is colour printing allowed?"] if command[0] == "run" else []
            sys.argv = ["sluicegate", command[0], "configs/helpdesk/workflow.yaml", *text, *command[1:]]
            try:
                main()
            except SystemExit as left:
                assert not left.code, left.code
        """
    loaded = _loaded(code, SLUICEGATE_HOME=str(tmp_path))
    assert {"guardrails", "lancedb", "langgraph", "xllamacpp"} <= loaded
    assert loaded & NEVER == set()


PARTS = """
    from sluicegate.policies.guards.library import guardrails
    from sluicegate.retrieval.table import open_at
    import asyncio, tempfile
    from pathlib import Path
    guardrails()
    try:
        asyncio.run(open_at(Path(tempfile.mkdtemp()), "absent", 1))
    except ValueError:
        pass
    postponed = [
        "lance_namespace_urllib3_client.api.table_api", "rfc3987_syntax", "rfc3986_validator",
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    ]
    assert {"guardrails", "lancedb"} <= set(sys.modules)
    assert [name for name in postponed if name in sys.modules] == []
    """


@pytest.mark.slow
def test_unused_parts_of_libraries_are_not_loaded() -> None:
    assert "grpc" not in _loaded(PARTS)


@pytest.mark.slow
def test_what_was_postponed_works_when_it_is_used_after_all() -> None:
    loaded = _loaded(
        PARTS
        + """
    import jsonschema, lance_namespace_urllib3_client
    formats = jsonschema.FormatChecker()
    assert formats.conforms("https://example.org/a", "uri") and not formats.conforms("https://a b", "uri")
    assert formats.conforms("https://exämple.org/", "iri") and not formats.conforms("no scheme", "iri")

    client = lance_namespace_urllib3_client.TableApi()
    assert type(client).__module__ == "lance_namespace_urllib3_client.api.table_api"
    from lance_namespace_urllib3_client.api.table_api import TableApi
    assert type(client) is TableApi
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    assert isinstance(OTLPSpanExporter, type)
    """
    )
    assert {"rfc3987_syntax", "rfc3986_validator"} <= loaded


@pytest.mark.slow
def test_a_module_that_is_loaded_is_not_stood_in_for() -> None:
    import colorsys

    from sluicegate.lazy_modules import postponed

    with postponed({"colorsys": ["rgb_to_hsv"]}):
        assert sys.modules["colorsys"] is colorsys


@pytest.mark.slow
def test_a_stand_in_leaves_when_the_import_fails() -> None:
    from sluicegate.lazy_modules import postponed

    with pytest.raises(ImportError, match="broken"):
        _import_broken(postponed({"nowhere_at_all": ["anything"]}))
    assert "nowhere_at_all" not in sys.modules


def _import_broken(postponing: AbstractContextManager[None]) -> None:
    with postponing:
        assert "nowhere_at_all" in sys.modules
        raise ImportError("broken")


@pytest.mark.slow
def test_a_server_builds_no_grammars_of_formats() -> None:
    assert "rfc3987_syntax" not in _loaded("import sluicegate.serving.http.app")
