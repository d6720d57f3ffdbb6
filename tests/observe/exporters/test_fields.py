"""Every field that a trace must have, decoded from what the two destinations were sent, and the same from the store."""

import json
from pathlib import Path
from typing import Any

import pytest
from langfuse import Langfuse

from sluicegate.observe.exporters.export import QueuedExporter
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from sluicegate.observe.exporters.otlp import OtlpEndpoint, OtlpSender
from sluicegate.observe.tracing.spans import root_id, trace_id
from sluicegate.observe.tracing.store import Store
from tests.support.receiver import PUBLIC, SECRET, ReceivedSpan, Receiver
from tests.support.scenario import first_stretch, last_stretch, open_tracer

META = "langfuse.observation.metadata."


@pytest.fixture
async def sent(tmp_path: Path) -> Any:
    """Langfuse's copy, a collector's copy and the store of one run with a wait in it."""
    with Receiver() as langfuse, Receiver() as collector:
        keys = Keys(PUBLIC, SECRET, langfuse.url)
        exporters = [
            QueuedExporter(LangfuseSender(keys)),
            QueuedExporter(OtlpSender(OtlpEndpoint(f"{collector.url}/v1/traces"))),
        ]
        store, tracer = open_tracer(tmp_path, *exporters)
        await first_stretch(tracer)
        await last_stretch(tracer)
        assert tracer.flush(10)
        tracer.close()
        yield langfuse, collector, store
        store.close()


def meta(span: ReceivedSpan, key: str) -> Any:
    value = span.attributes[META + key]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def test_trace_id_is_langfuses_seeded_one() -> None:
    assert trace_id("run-1") == Langfuse.create_trace_id(seed="run-1")


@pytest.mark.slow
async def test_one_trace_with_one_root_and_the_resume_below_it(sent: tuple[Receiver, Receiver, Store]) -> None:
    for receiver in sent[:2]:
        assert {span.trace_id for span in receiver.spans} == {trace_id("run-1")}
        assert [span.name for span in receiver.spans if not span.parent] == ["invoke_agent helpdesk"]
        assert receiver.named("invoke_agent helpdesk").span_id == root_id("run-1")
        assert receiver.named("invoke_agent helpdesk (resume)").parent == root_id("run-1")
        ids = {span.span_id for span in receiver.spans}
        assert len(ids) == len(receiver.spans), "each observation once"
        assert all(span.parent in ids for span in receiver.spans if span.parent)
        assert all(span.start_ns <= span.end_ns for span in receiver.spans)


@pytest.mark.slow
async def test_every_observation_carries_the_run(sent: tuple[Receiver, Receiver, Store]) -> None:
    for span in sent[0].spans:
        said = span.attributes
        assert said["langfuse.trace.name"] == "helpdesk"
        assert said["session.id"] == "s-1"
        assert said["user.id"].startswith("user-")
        assert "ann" not in said["user.id"]
        assert said["langfuse.environment"] == "staging"
        assert said["langfuse.release"] == "r1"
        assert said["langfuse.version"] == "helpdesk 3 d1gest"
        assert said["langfuse.trace.metadata.digest"] == "d1gest"
        assert {"workflow:helpdesk", "intent:password_reset", "risk:high"} <= set(said["langfuse.trace.tags"])
    assert "path:rag-slm" in sent[0].named("respond").attributes["langfuse.trace.tags"]
    for span in sent[1].spans:
        assert span.attributes["gen_ai.workflow.name"] == "helpdesk"
        assert span.attributes["sluicegate.digest"] == "d1gest"
        assert span.resource["service.name"] == "sluicegate"
        assert span.resource["deployment.environment.name"] == "staging"
    assert not any(key.startswith("langfuse.") for span in sent[1].spans for key in span.attributes)


async def test_request_and_metadata_are_on_the_root(sent: tuple[Receiver, Receiver, Store]) -> None:
    root = sent[0].named("invoke_agent helpdesk")
    assert root.attributes["langfuse.observation.type"] == "agent"
    assert root.attributes["langfuse.observation.input"] == "How do I reset my password?"
    assert json.loads(root.attributes["langfuse.trace.metadata.request"]) == {"channel": "api", "size": 27}
    assert META + "size" not in root.attributes
    assert meta(sent[0].named("invoke_agent helpdesk (resume)"), "status") == "answered"
    collected = sent[1].named("invoke_agent helpdesk").attributes
    assert collected["gen_ai.operation.name"] == "invoke_agent"
    assert collected["gen_ai.agent.name"] == "helpdesk"
    assert json.loads(collected["gen_ai.input.messages"])[0]["parts"][0]["content"] == "How do I reset my password?"


@pytest.mark.slow
async def test_a_resume_leaves_the_root_with_the_end_of_the_run(sent: tuple[Receiver, Receiver, Store]) -> None:
    root, resume = sent[0].named("invoke_agent helpdesk"), sent[0].named("invoke_agent helpdesk (resume)")
    assert meta(root, "status") == "answered"
    assert root.attributes["langfuse.observation.input"] == "How do I reset my password?"
    assert root.attributes["langfuse.observation.output"] == "Reset it in the portal [1]."
    assert "path:rag-slm" in root.attributes["langfuse.trace.tags"]
    assert root.end_ns >= resume.end_ns
    # a collector would have it twice
    assert sent[1].named("invoke_agent helpdesk").attributes["sluicegate.status"] == "waiting"
    stored = next(span for span in sent[2].spans("run-1") if not span["parent"])
    assert (stored["attributes"]["status"], stored["end_ns"]) == ("answered", root.end_ns)
    for destination in (f"langfuse {sent[0].url}", f"otlp {sent[1].url}/v1/traces"):
        assert sent[2].undelivered(destination) == []


@pytest.mark.slow
async def test_the_agent_graph_has_the_nodes_in_their_order(sent: tuple[Receiver, Receiver, Store]) -> None:
    tagged = [span for span in sent[0].spans if META + "langgraph_node" in span.attributes]
    assert all(meta(span, "langgraph_node") == span.name for span in tagged)
    assert {"policy ask", "budget reserve", "gate→recall", "route"}.isdisjoint(span.name for span in tagged)
    nodes = [span.name for span in sorted(tagged, key=lambda span: span.start_ns)]
    assert nodes[:3] == ["classify", "gate", "recall"]


@pytest.mark.slow
async def test_every_node_has_input_and_output_and_no_event_has(sent: tuple[Receiver, Receiver, Store]) -> None:
    sides = ("langfuse.observation.input", "langfuse.observation.output")
    for span in sent[0].spans:
        if META + "langgraph_node" in span.attributes:
            assert all(span.attributes.get(side) for side in sides), span.name
        elif span.attributes["langfuse.observation.type"] == "event":
            assert not any(side in span.attributes for side in sides), span.name
    check = json.loads(sent[0].named("check").attributes[sides[0]])
    assert check == {"request": "How do I reset my password?", "draft": "Reset it in the portal [1]."}


@pytest.mark.slow
async def test_routing_decision(sent: tuple[Receiver, Receiver, Store]) -> None:
    route = sent[0].named("route")
    assert (meta(route, "confidence"), meta(route, "threshold")) == (0.83, 0.71)
    assert meta(route, "artifact") == "artifact-hash"
    assert meta(route, "classified_by") == "head"
    assert [each["label"] for each in meta(route, "alternatives")] == ["question", "report"]
    node = sent[0].named("classify")
    assert meta(node, "intent")["label"] == "password_reset"


@pytest.mark.slow
async def test_branch_decision_is_named_by_its_edge(sent: tuple[Receiver, Receiver, Store]) -> None:
    branch = sent[0].named("gate→recall")
    assert branch.attributes["langfuse.observation.type"] == "event"
    assert branch.parent == root_id("run-1")
    assert meta(branch, "condition") == "policy.verdict == 'allow'"
    assert meta(branch, "values") == {"policy.verdict": "allow", "intent.confidence": 0.83}
    assert (meta(branch, "confidence"), meta(branch, "threshold")) == (0.83, 0.71)
    assert (meta(branch, "from"), meta(branch, "to"), meta(branch, "not_taken")) == ("gate", "recall", ["refuse"])
    edges = {span.name for span in sent[0].spans if "→" in span.name}
    assert edges >= {"classify→gate", "recall→facts", "facts→answer", "answer→check", "approve→respond"}


@pytest.mark.slow
async def test_model_call(sent: tuple[Receiver, Receiver, Store]) -> None:
    call = sent[0].named("chat smollm2-135m")
    said = call.attributes
    assert said["langfuse.observation.level"] == "WARNING"
    assert said["langfuse.observation.status_message"] == (
        "embedded:smollm2-135m answered for ollama:qwen3:1.7b is unreachable"
    )
    assert said["langfuse.observation.type"] == "generation"
    assert said["langfuse.observation.model.name"] == "embedded:smollm2-135m", "what really answered"
    assert meta(call, "asked") == "ollama:qwen3:1.7b"
    assert meta(call, "fallback") == "ollama:qwen3:1.7b is unreachable"
    assert json.loads(said["langfuse.observation.usage_details"]) == {"input": 120, "output": 9, "total": 129}
    assert json.loads(said["langfuse.observation.cost_details"]) == {"total": 0.0012}
    assert json.loads(said["langfuse.observation.model.parameters"])["max_tokens"] == 80
    assert meta(call, "prompt") == "answer@1"
    assert len(meta(call, "prompt_hash")) == 64
    assert meta(call, "confidence") == pytest.approx(0.8187, abs=1e-4)
    assert meta(call, "model_ms") == 42.0
    assert said["langfuse.observation.output"] == "Reset it in the portal [1]."
    collected = sent[1].named("chat qwen3:1.7b").attributes
    assert collected["gen_ai.operation.name"] == "chat"
    assert collected["gen_ai.request.model"] == "qwen3:1.7b"
    assert collected["gen_ai.response.model"] == "smollm2-135m"
    assert collected["gen_ai.provider.name"] == "embedded"
    assert (collected["gen_ai.usage.input_tokens"], collected["gen_ai.usage.output_tokens"]) == (120, 9)
    assert collected["gen_ai.response.finish_reasons"] == ["stop"]
    assert sent[0].named("embeddings embedder").attributes["langfuse.observation.type"] == "embedding"


@pytest.mark.slow
async def test_retrieval(sent: tuple[Receiver, Receiver, Store]) -> None:
    search = sent[0].named("retrieval kb")
    assert search.attributes["langfuse.observation.type"] == "retriever"
    assert search.attributes["langfuse.observation.input"] == "How do I reset my password?"
    [document] = json.loads(search.attributes["langfuse.observation.output"])
    assert (document["id"], document["version"], document["score"]) == ("kb-1", "2", 0.8)
    assert meta(search, "filter")["readable_by"]["roles"] == ["employee"]
    collected = sent[1].named("retrieval kb").attributes
    assert collected["gen_ai.retrieval.query.text"] == "How do I reset my password?"
    assert json.loads(collected["gen_ai.retrieval.documents"])[0]["id"] == "kb-1"
    assert collected["gen_ai.data_source.id"] == "kb"


@pytest.mark.slow
async def test_policy_guards_budget_cache_and_tool(sent: tuple[Receiver, Receiver, Store]) -> None:
    policy = sent[0].named("policy ask")
    assert policy.attributes["langfuse.observation.type"] == "guardrail"
    assert (meta(policy, "verdict"), meta(policy, "rules")) == ("allow", ["yes"])
    assert meta(policy, "principal").startswith("user-")
    guard = sent[0].named("guard output")
    assert guard.attributes["langfuse.observation.type"] == "guardrail"
    assert meta(guard, "verdicts") == {"pii": True, "tone": True}
    reserved = sent[0].named("budget reserve")
    assert (meta(reserved, "reserved"), meta(reserved, "reserved_usd"), meta(reserved, "tokens")) == (True, 0.01, 200)
    assert meta(sent[0].named("budget settle"), "settled_usd") == 0.0012
    assert meta(sent[0].named("cache get"), "hit") is False
    assert meta(sent[0].named("cache put"), "saved_usd") == 0.01
    tool = sent[0].named("execute_tool create_ticket")
    assert tool.attributes["langfuse.observation.type"] == "tool"
    assert meta(tool, "key") == "key-1", "the idempotency key"
    assert json.loads(tool.attributes["langfuse.observation.input"]) == {"title": "password"}
    collected = sent[1].named("execute_tool create_ticket").attributes
    assert (collected["gen_ai.tool.name"], collected["gen_ai.tool.call.id"]) == ("create_ticket", "key-1")


@pytest.mark.slow
async def test_human_verdict_and_waiting_time(sent: tuple[Receiver, Receiver, Store]) -> None:
    approval = sent[0].named("approve")
    assert (meta(approval, "approval"), meta(approval, "waited_s")) == ("approve", 5400.0)
    assert meta(approval, "approval_reason") == "looks right"
    assert meta(approval, "decided_by").startswith("user-")


@pytest.mark.slow
async def test_scores_of_every_type(sent: tuple[Receiver, Receiver, Store]) -> None:
    scores = {score["name"]: score for score in sent[0].scores}
    expected = {
        "route_confidence": ("NUMERIC", 0.83),
        "answer_confidence": ("NUMERIC", 0.82),
        "check_pii": ("BOOLEAN", 1),
        "check_tone": ("BOOLEAN", 0),
        "policy_pass": ("BOOLEAN", 1),
        "approval": ("CATEGORICAL", "approve"),
        "path": ("CATEGORICAL", "rag-slm"),
        "cost_usd": ("NUMERIC", 0.0012),
    }
    assert {name: (scores[name]["dataType"], scores[name]["value"]) for name in expected} == expected
    assert scores["latency_ms"]["value"] > 0
    assert {score["traceId"] for score in sent[0].scores} == {trace_id("run-1")}
    assert {score["environment"] for score in sent[0].scores} == {"staging"}
    assert len({score["id"] for score in sent[0].scores}) == len(sent[0].scores)


@pytest.mark.slow
async def test_the_store_has_all_that_langfuse_was_sent(sent: tuple[Receiver, Receiver, Store]) -> None:
    langfuse, collector, store = sent
    spans = store.spans("run-1")
    assert {span["span_id"] for span in spans} == {span.span_id for span in langfuse.spans}
    assert {span["span_id"] for span in spans} == {span.span_id for span in collector.spans}
    assert {score["score_id"] for score in store.scores("run-1")} == {score["id"] for score in langfuse.scores}
    run = store.run("run-1")
    assert (run["status"], run["path"], run["intent"], run["waited_s"]) == (
        "answered", "rag-slm", "password_reset", 5400.0,
    )  # fmt: skip
    assert (run["usd"], run["all_llm_usd"], run["llm_calls"]) == (0.0012, 0.02, 0)
