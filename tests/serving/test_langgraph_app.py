"""`langgraph.json`: every workflow, loaded as LangGraph's own tools load it.

With `langgraph-api` installed its own loader is used; without it (it brings a web server and a Rust runtime, which
nothing else here needs) the same steps: the file is executed as a module of its own, the variable is taken
from its dictionary, a factory of no arguments is called, and the graph must come without a checkpointer.
"""

import importlib.util
import inspect
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph

from tests.support import ROOT

EXPORTS: dict[str, str] = json.loads((ROOT / "langgraph.json").read_text())["graphs"]


def load(graph_id: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The graph of an id, by LangGraph's loader or by its steps."""
    monkeypatch.chdir(ROOT)
    path, _, variable = EXPORTS[graph_id].partition(":")
    if importlib.util.find_spec("langgraph_api"):
        from langgraph_api.graph import (  # pyright: ignore
            GraphSpec,
            _graph_from_spec,
        )

        found: Any = _graph_from_spec(GraphSpec(graph_id, path=path, variable=variable))
    else:
        name = path.replace("/", "__").replace(".py", "").lstrip(".")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        found = module.__dict__[variable]
    assert not inspect.signature(found).parameters
    return found()


def test_every_workflow_is_exported() -> None:
    workflows = sorted(file.parent.name for file in ROOT.glob("configs/*/workflow.yaml"))
    assert sorted(EXPORTS) == workflows, "langgraph.json names every folder under configs/"


@pytest.mark.slow
@pytest.mark.parametrize("graph_id", sorted(EXPORTS))
def test_an_export_loads_and_describes_itself(graph_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.graphs.config.load import load as load_workflow

    graph = load(graph_id, monkeypatch)
    assert isinstance(graph, CompiledStateGraph)
    assert graph.checkpointer is None, "the server brings its own"
    assert set(graph.get_input_jsonschema()["properties"]) == {"text", "user", "roles"}
    workflow = load_workflow(ROOT / "configs" / graph_id / "workflow.yaml")
    drawn = graph.get_graph()
    assert set(drawn.nodes) == {*workflow.flow.nodes, "__start__", "__end__", "intake"}
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert {(node.name, edge.to) for node in workflow.flow.nodes.values() for edge in node.edges} <= edges


@pytest.mark.slow
async def test_a_thread_runs_waits_and_takes_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the server does it: its own checkpointer, a thread, an interrupt, a resume."""
    from langgraph.types import Command

    from sluicegate.graphs.runtime import factory as opening
    from sluicegate.graphs.runtime.intake import principal
    from tests.support.fakes import FakeModels
    from tests.support.helpdesk import TICKET, fakes

    real = opening.open_workflow
    fake = fakes("access_request", models=FakeModels(parsed={**TICKET, "title": "access to finance"}))
    monkeypatch.setattr(opening, "open_workflow", lambda config, **more: real(config, change=fake, **more))
    graph = load("helpdesk", monkeypatch).copy({"checkpointer": InMemorySaver()})
    at: Any = {"configurable": {"thread_id": "1"}}
    waits = await graph.ainvoke({"text": "Give Mia access to finance", "user": "ann"}, at)
    (asked,) = waits["__interrupt__"]
    assert asked.value["approvers"] == "role:helpdesk-lead"
    verdict = {"verdict": "approve", "principal": principal("lea", ["helpdesk-lead"]), "reason": "", "text": "",
               "asked_at": asked.value["asked_at"]}  # fmt: skip
    done = await graph.ainvoke(Command(resume=verdict), at)
    assert (done["run"]["status"], done["principal"]["id"]) == ("answered", "ann")
    assert done["tool_calls"][0]["result"]["id"] == "not-called"
    with pytest.raises(Exception, match="already handled a request"):
        await graph.ainvoke({"text": "Another"}, at)
