"""The helpdesk's answering path as one would write it by hand with the same libraries; `governed.py` measures it.

LangGraph with its SQLite saver, Langfuse's callback handler, guardrails-ai guards built once around the same detectors,
policies and schema parsed once by cedarpy, one open LanceDB table, a cache table. It has no proofs, no budgets, no kill
switch, no audit log, no trail and no redaction. Edges and model are asynchronous: LangGraph and LangChain give each
synchronous one a thread, and the fake chat model that comes with LangChain is one.
"""

import hashlib
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

HELPDESK = Path(__file__).resolve().parent.parent / "configs" / "helpdesk"


class Run(TypedDict, total=False):
    question: str
    user: dict[str, Any]
    intent: str
    confidence: float
    allowed: bool
    cached: bool
    documents: list[dict[str, Any]]
    answer: str
    failures: list[str]


def _guard(*names: str) -> Any:
    from guardrails_ai.types import FailResult, PassResult

    from sluicegate.policies.guards.checking import Helpers, Subject
    from sluicegate.policies.guards.config import GuardConfig
    from sluicegate.policies.guards.library import guardrails
    from sluicegate.policies.guards.registry import guards

    library = guardrails()
    made: list[Any] = []
    for name in names:
        kind = guards()[name]
        check: Any = kind.make(GuardConfig().settings(name, kind.settings), Helpers())

        async def async_validate(self: Any, value: str, metadata: dict[str, Any], check: Any = check) -> Any:
            verdict = check(Subject(value, "output", metadata["question"], tuple(metadata["sources"]), 1))
            return PassResult() if verdict.passed else FailResult(error_message=verdict.reason)

        own: Any = type(f"Hand{name.title()}", (library.Validator,), {"async_validate": async_validate})
        made.append(library.register_validator(f"hand/{name}", "string")(own)(on_fail="noop", use_local=True))
    return library.AsyncGuard(name="-".join(names), history_max_length=1, use_server=False).use(*made)


async def _failures(guard: Any, text: str, question: str = "", sources: list[str] | None = None) -> list[str]:
    outcome = await guard.validate(text, metadata={"question": question, "sources": sources or []})
    return [summary.validator_name for summary in outcome.validation_summaries or ()]


def _model() -> Any:
    """A chat model that picks the first sentence at once."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Instant(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "instant"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("1"))])

        async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return self._generate()

    return Instant()


def graph(
    home: Path, models: Any, numbered: Callable[[int], str], *, empty: bool = False
) -> Callable[[int], Awaitable[None]]:
    """With `empty`, its nodes do nothing and nothing is traced: what LangGraph and its saver take by themselves."""
    import cedarpy
    import lancedb
    import numpy as np
    from lancedb.query import MatchQuery
    from langchain_core.messages import HumanMessage, SystemMessage
    from langfuse.langchain import CallbackHandler
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph

    from sluicegate.policies.cedar.sources import base_schema, policy_files
    from sluicegate.services import EmbeddingRequest

    schema = cedarpy.Schema.from_str(base_schema())
    policies = cedarpy.PolicySet.from_str("\n".join(file.text for file in policy_files(HELPDESK)))
    gate_guard, passage_guard = _guard("injection", "secrets"), _guard("injection")
    answer_guard = _guard("pii", "secrets", "grounded", "citations", "length", "tone")
    model = _model()
    cache = sqlite3.connect(home / "hand-cache.sqlite", isolation_level=None)
    cache.execute("PRAGMA journal_mode=WAL")
    cache.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
    weights = np.random.default_rng(0).normal(size=(16, 384))
    opened: dict[str, Any] = {}

    async def classify(state: Run) -> Run:
        vectors = (await models.embed(EmbeddingRequest("embedder", [state["question"]]))).vectors
        scores = np.exp(weights @ np.asarray(vectors[0]))
        return {"intent": "printing", "confidence": float(scores.max() / scores.sum())}

    async def gate(state: Run) -> Run:
        if await _failures(gate_guard, state["question"]):
            return {"allowed": False}
        user = state["user"]
        labels = ["everyone", f"user:{user['id']}", *(f"role:{role}" for role in user["roles"])]
        entities = [
            {"uid": {"type": "User", "id": user["id"]}, "attrs": {"clearance": 1, "labels": labels},
             "parents": [{"type": "Role", "id": role} for role in user["roles"]]},
            {"uid": {"type": "Workflow", "id": "helpdesk"}, "attrs": {}, "parents": []},
        ]  # fmt: skip
        context = {"intent": state["intent"], "risk": "low", "channel": "cli", "hour": 12, "data_classes": []}
        request = {"principal": f'User::"{user["id"]}"', "action": 'Action::"ask"', "resource": 'Workflow::"helpdesk"',
                   "context": context}  # fmt: skip
        return {"allowed": cedarpy.is_authorized(request, policies, entities, schema).allowed}

    def key(state: Run) -> str:
        return hashlib.sha256(state["question"].encode()).hexdigest()

    async def recall(state: Run) -> Run:
        row = cache.execute("SELECT answer FROM answers WHERE key = ?", (key(state),)).fetchone()
        return {"cached": True, "answer": row[0]} if row else {"cached": False}

    async def facts(state: Run) -> Run:
        if "table" not in opened:
            folder = home / "indexes" / "helpdesk" / "kb"
            connection = await lancedb.connect_async(str(folder))
            opened["table"] = await connection.open_table((await connection.list_tables()).tables[0])
        table, match = opened["table"], MatchQuery
        vector = (await models.embed(EmbeddingRequest("embedder", [state["question"]]))).vectors[0]
        readers = ", ".join(
            f"'{label}'" for label in ("everyone", *(f"role:{role}" for role in state["user"]["roles"]))
        )
        condition = f"approved = true AND clearance <= 1 AND array_has_any(readers, [{readers}])"
        columns = ["document", "hash", "text", "vector"]
        near = await (
            table.query().nearest_to(list(vector)).distance_type("cosine").where(condition).limit(50)
            .select([*columns, "_distance"]).to_list()
        )  # fmt: skip
        worded = await (
            table.query().nearest_to_text(match(state["question"].replace("?", ""), "text")).where(condition).limit(50)
            .select([*columns, "_score"]).to_list()
        )  # fmt: skip
        words = {row["hash"]: row["_score"] for row in worded}
        ranked = sorted(near, key=lambda row: row["_distance"] - 0.06 * words.get(row["hash"], 0.0))[:6]
        found = [{"id": row["document"], "hash": row["hash"], "text": row["text"]} for row in ranked]
        return {"documents": [one for one in found if not await _failures(passage_guard, one["text"])]}

    async def answer(state: Run) -> Run:
        from sluicegate.segmentation import sentences

        said = [(n, each) for n, one in enumerate(state["documents"], 1) for each in sentences(one["text"])]
        texts = [state["question"], *(each for _, each in said)]
        question, *vectors = (await models.embed(EmbeddingRequest("embedder", texts))).vectors
        near = np.asarray(vectors) @ np.asarray(question)
        best = sorted(zip(near, said, strict=True), key=lambda pair: -pair[0])[:6]
        listed = "\n".join(f"{n}. {each}" for n, (_, (_, each)) in enumerate(best, 1))
        asked = [SystemMessage("Pick a sentence."), HumanMessage(f"{listed}\n\n{state['question']}")]
        chosen = int((await model.ainvoke(asked)).text)
        source, text = best[chosen - 1][1]
        return {"answer": f"{text} [{source}]"}

    async def check(state: Run) -> Run:
        texts = [document["text"] for document in state["documents"]]
        return {"failures": await _failures(answer_guard, state["answer"], state["question"], texts)}

    async def respond(state: Run) -> Run:
        cache.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key(state), json.dumps(state["answer"])))
        return {}

    async def nothing(state: Run) -> Run:
        del state
        return {"allowed": True, "cached": False, "answer": "", "failures": []}

    written = StateGraph(Run)
    for node in (classify, gate, recall, facts, answer, check, respond):
        written.add_node(node.__name__, nothing if empty else node)
    written.add_edge(START, "classify")
    written.add_edge("classify", "gate")

    async def allowed(state: Run) -> str:
        return "recall" if state["allowed"] else END

    async def known(state: Run) -> str:
        return "respond" if state["cached"] else "facts"

    async def passed(state: Run) -> str:
        return END if state["failures"] else "respond"

    written.add_conditional_edges("gate", allowed, ["recall", END])
    written.add_conditional_edges("recall", known, ["respond", "facts"])
    written.add_edge("facts", "answer")
    written.add_edge("answer", "check")
    written.add_conditional_edges("check", passed, ["respond", END])
    written.add_edge("respond", END)

    async def once(number: int) -> None:
        if "graph" not in opened:
            import aiosqlite

            connection = await aiosqlite.connect(home / "hand-checkpoints.sqlite")
            opened["graph"] = written.compile(checkpointer=AsyncSqliteSaver(connection))
        config: Any = {"configurable": {"thread_id": str(number)}, "callbacks": [] if empty else [CallbackHandler()]}
        asked: Run = {"question": numbered(number), "user": {"id": "ann", "roles": ["employee"]}}
        result = await opened["graph"].ainvoke(asked, config, durability="sync")
        assert "answer" in result, result

    return once
