"""Runs of a served workflow as its tracer records them, with whatever texts a test puts into them."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

from sluicegate.graphs.config.load import load
from sluicegate.home import home
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from tests.support.scenario import branch
from tests.support.stand import WORKFLOW

__all__ = ["OPERATOR", "nothing_withheld", "recorded"]

OPERATOR = {"x-user": "olga", "x-roles": "operator"}


def nothing_withheld(*_: object) -> str:
    """In the place of `ReadingRights.withheld`, where there is no index of documents to ask."""
    return ""


def recorded(run: str, text: str = "harmless", *, user: str = "ann", session: str = "", documents: bool = False) -> str:
    """A finished run that has `text` wherever people, documents, tools and models may write."""
    workflow = load(WORKFLOW / "workflow.yaml")
    with _tracer() as tracer, tracer.run(
        run, workflow=workflow.name, version=workflow.version, digest=workflow.digest, user=user, input=text,
        session=session,
    ) as root:  # fmt: skip
        with tracer.node("classify", "classify", "chain") as span:
            span.set(intent={"label": "question", "risk": "low"}, confidence=0.9)
        tracer.branch("classify", branch("gate"))
        with tracer.node("facts", "retrieve", "retriever"), tracer.span("retrieval kb", "retriever") as span:
            found = [{"id": text, "version": "2", "title": text, "source": text, "score": 0.5}]
            span.set(index="kb", query=text, **({"documents": found} if documents else {"k": 3}))
        tracer.branch("facts", branch("answer", f"intent.label != '{text}'", {"request.text": text}, ("refuse",)))
        with tracer.node("answer", "slm-answer", "chain") as node:
            with tracer.span("chat slm", "generation", role="slm", asked="fake:slm", input=text) as span:
                span.set(output=text, model="fake:slm", prompt_tokens=11, completion_tokens=7, usd=0.25)
            node.set(output=text, citations=[f"{text}@2"])
        with tracer.span("guard output", "guardrail", stage="output", input=text) as span:
            span.set(verdicts={"grounded": False}, actions={"grounded": "human"}, failures={"grounded": text})
        with tracer.span("execute_tool open", "tool", tool="open", arguments={"title": text}) as span:
            span.set(status="done", result={"id": text}, key="k")
        with tracer.node("triage", "workflow", "chain"):
            child = {"run": f"{run}-child", "workflow": text, "version": text}
            with tracer.span("invoke_agent child", "agent", **child) as span:
                span.set(status="answered", path="rag-slm")
        tracer.score("approval", "approve", comment=text)
        root.segment.outcome |= {
            "status": "answered", "path": "rag-slm", "intent": "question", "risk": "low", "answer": text,
            "model": "fake:slm", "usd": 0.25, "prompt_tokens": 11, "completion_tokens": 7, "approval": "approve",
            "waited_s": 60.0,
        }  # fmt: skip
    return run


@contextmanager
def _tracer() -> Generator[Any]:
    with closing(Store(home() / "store.sqlite")) as store:
        tracer = RecordingTracer(store, masking=Masking())
        yield tracer
        tracer.close()
