"""What is left out of a plain install is not needed to run, and says how to get it when it is."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sluicegate.errors import ModelError, PolicyError, RetrievalError, RunError, SluicegateError
from sluicegate.extras import extra, fitting

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "helpdesk" / "workflow.yaml"
LEFT_OUT = (
    "dbos", "matplotlib", "mcp", "obstore", "presidio_analyzer", "psycopg", "ray", "scipy", "sklearn", "spacy",
    "starlette", "uvicorn",
)  # fmt: skip


def _fit() -> None:
    fitting("scipy.stats")


def _names() -> None:
    from sluicegate.policies.guards.pii.names import named_entities

    named_entities("en-core-web-md")


def _server() -> None:
    from sluicegate.storage.postgres import Server

    Server("postgresql://localhost/x")


def _bucket() -> None:
    from sluicegate.retrieval.stores.objects import open_objects

    open_objects("s3://bucket/kb")


def _http() -> None:
    from sluicegate.serving.http.server import serve

    serve(cast("Any", SimpleNamespace()), cast("Any", SimpleNamespace()), host="127.0.0.1", port=0)


def _ray() -> None:
    from sluicegate.batch.engines.factory import open_engine

    open_engine("ray")


def _durable() -> None:
    import os
    from unittest.mock import patch

    from sluicegate.serving.execution.factory import open_executor

    nothing: Any = SimpleNamespace()
    with patch.dict(sys.modules), patch.dict(os.environ, {"SLUICEGATE_DATABASE_URL": "postgresql://localhost/x"}):
        # what another test has imported
        for name in ("durable", "engine"):
            sys.modules.pop(f"sluicegate.serving.execution.{name}", None)
        open_executor(nothing, nothing, nothing, nothing, channel="api", work=True)


@pytest.mark.parametrize(
    ("module", "name", "code", "family", "use"),
    [
        ("scipy.stats", "fit", "SG308", ModelError, _fit),
        ("spacy", "ner", "SG203", PolicyError, _names),
        ("psycopg", "postgres", "SG625", RunError, _server),
        ("dbos", "dbos", "SG681", RunError, _durable),
        ("ray", "ray", "SG709", RunError, _ray),
        ("obstore", "s3", "SG701", RetrievalError, _bucket),
        ("uvicorn", "serve", "SG624", RunError, _http),
    ],
)
def test_a_missing_extra_says_the_command(
    module: str,
    name: str,
    code: str,
    family: type[SluicegateError],
    use: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(family, match=f"needs the package {module.partition('.')[0]}") as caught:
        use()
    assert caught.value.code == code
    assert caught.value.hint == f"Install it: pip install 'sluicegate[{name}]'"


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), extra("fit", "this", RunError):
        _ = 1 / 0


@pytest.mark.slow
def test_a_workflow_runs_without_any_extra() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({LEFT_OUT!r}))
from sluicegate.cli import main
for command in (["ingest", {str(CONFIG)!r}], ["run", {str(CONFIG)!r}, "How do I set up the VPN?", "--json"]):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as left:
        assert not left.code, left.code
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"path": "rag-slm"' in done.stdout
