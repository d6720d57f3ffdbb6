"""The only way to a model: every call of a run is checked by the policies, the kill switch and the ledger.

    update = await governed(node, state, services)

Each attempt of a step (`nodes/attempts.py`) runs its node this way. The node is given `services` whose models are
governed for it; the router, the retriever and the guards hold `ModelsOfStep`, the models of the step that calls them.
For each call: may every model that could answer be used, do the budgets have its upper bound left, then the call, then
booking its real cost. A call that is not allowed raises `StoppedError`, and `spend` of the state says so: a fact that
branches decide on.

Free calls are not reserved, so local embeddings cost no write. A call in progress is cancelled when one of its
models is switched off. Outside a run (fitting, ingesting, measuring) nothing is checked: an operator does that.
"""

import asyncio
import dataclasses
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, cast

from sluicegate.errors import ModelError, StoppedError
from sluicegate.models.config import LOCAL_PROVIDERS
from sluicegate.nodes.budget.draws import draw_of
from sluicegate.nodes.items import item_context
from sluicegate.nodes.kind import Node
from sluicegate.policies.cedar.entities import rank
from sluicegate.services import (
    Completion,
    Decision,
    EmbeddingRequest,
    Embeddings,
    ModelRequest,
    Models,
    ModelStep,
    Refusal,
    Reservation,
    Services,
)
from sluicegate.state import Spend, State

__all__ = ["Account", "ModelsOfStep", "account_of_step", "governed", "include", "no_spend"]

LOOK_S = 0.25
"""How often a call in progress checks the kill switch."""

_SENT_BACK = 60
"""Tokens of the text around an answer that is sent back."""

T = TypeVar("T")


def no_spend() -> Spend:
    return {
        "usd": 0.0,
        "estimated_usd": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "slm_calls": 0,
        "llm_calls": 0,
        "stopped": False,
        "stopped_by": "",
    }


class Account:
    """What one visit of a node spends, on top of its run's spending so far; the ledger is called from here only."""

    def __init__(self, state: State, services: Services, place: str = "") -> None:
        """`place` names the visit within its run."""
        self.state, self.services = state, services
        self._place, self._calls = place, 0
        self.spend: Spend = {**no_spend(), **(state.get("spend") or no_spend())}
        self.touched = False
        """Something was spent, or not allowed."""
        intent = state.get("intent")
        self._intent = intent["label"] if intent else ""
        self._stopped = False
        self._included: dict[str, Spend] = {}

    async def reserve(self, model: str, usd: float, tokens: int, size: Literal["slm", "llm"] = "slm") -> Reservation:
        """Set aside the upper bound of a call. Raises `StoppedError` SG501, SG502."""
        self._calls += 1
        made = await self.services.ledger.reserve(
            run=self.state["run"]["id"],
            principal=self.state["principal"]["id"],
            intent=self._intent,
            workflow=self.services.workflow.name,
            model=model,
            usd=usd,
            tokens=tokens,
            size=size,
            call=f"{self._place}.{self._calls}",
            draw=draw_of(self.state),
        )
        if isinstance(made, Refusal):
            raise self.stop(made.code, made.limit)
        self.spend["estimated_usd"] += made.usd
        return made

    async def settle(
        self, reservation: Reservation | None, usd: float, prompt_tokens: int, completion_tokens: int = 0
    ) -> None:
        """Book what a call cost."""
        if reservation:
            await self.services.ledger.settle(reservation, usd=usd, tokens=prompt_tokens + completion_tokens)
            self.touched = True
            self.spend["usd"] += usd
            self.spend["prompt_tokens"] += prompt_tokens
            self.spend["completion_tokens"] += completion_tokens

    async def release(self, reservation: Reservation) -> None:
        """Give back what was set aside for a call that cost nothing."""
        await self.services.ledger.release(reservation)

    async def charge(self, tool: str, usd: float, id: str) -> Reservation:
        """Book the call of a tool before it is made, once for each `id`. Raises `StoppedError` SG501, SG502."""
        made = await self.services.ledger.charge(
            id=id,
            run=self.state["run"]["id"],
            principal=self.state["principal"]["id"],
            intent=self._intent,
            workflow=self.services.workflow.name,
            tool=tool,
            usd=usd,
        )
        if isinstance(made, Refusal):
            raise self.stop(made.code, made.limit)
        self.touched = True
        self.spend["usd"] += usd
        self.spend["estimated_usd"] += usd
        return made

    async def refund(self, charged: Reservation) -> None:
        """Take back what was booked for a call that was not made."""
        await self.services.ledger.refund(charged)
        self.spend["usd"] -= charged.usd

    def refuse_switched_off(self, models: tuple[str, ...]) -> None:
        """Raises `StoppedError` SG502 when one of the models, the intent or the workflow is switched off."""
        name = self.services.workflow.name
        for model in models:
            if off := self.services.ledger.switched(model=model, intent=self._intent, workflow=name):
                raise self.stop(off.code, off.limit)

    def answered(self, size: Literal["slm", "llm"]) -> None:
        """Count a chat."""
        if size == "llm":
            self.spend["llm_calls"] += 1
        else:
            self.spend["slm_calls"] += 1
        if not self._stopped:
            self.spend["stopped"] = False

    def include(self, run: str, spend: Spend) -> None:
        """Count all that a run within this step has spent; what was counted of it before is replaced."""
        before, total = self._included.get(run, no_spend()), cast("dict[str, Any]", self.spend)
        for key in ("usd", "estimated_usd", "prompt_tokens", "completion_tokens", "slm_calls", "llm_calls"):
            total[key] += spend[key] - before[key]
        self._included[run] = {**spend}
        self.touched = True
        if spend["stopped"]:
            self.spend["stopped"], self.spend["stopped_by"] = True, spend["stopped_by"]

    def stop(self, code: str, message: str) -> StoppedError:
        """Record the first reason why this visit was stopped; returns the error to raise."""
        if not self._stopped:
            self.spend["stopped"], self.spend["stopped_by"] = True, f"{code} {message}"
        self.touched = self._stopped = True
        return StoppedError(code, message)


_ACCOUNT: ContextVar["Account | None"] = ContextVar("account", default=None)
"""That of the step under way."""
_MODELS: ContextVar[Models | None] = ContextVar("models", default=None)
"""The governed models of the step under way."""


async def governed(node: Node, state: State, services: Services, account: Account | None = None) -> dict[str, Any]:
    """Run a node; its update, with `spend` where it called a paid model or was not allowed to.

    `account` is that of a visit with several attempts: it has what those that failed have spent.
    """
    account = account or Account(state, services)
    models = Governed(services.models, account)
    token, booked = _MODELS.set(models), _ACCOUNT.set(account)
    try:
        update = await node(state, dataclasses.replace(services, models=models))
    finally:
        _MODELS.reset(token)
        _ACCOUNT.reset(booked)
    return {**update, "spend": account.spend} if account.touched else update


def account_of_step() -> Account | None:
    """That of the step under way."""
    return _ACCOUNT.get()


def include(run: str, spend: Spend) -> None:
    """Count what a run within the step under way has spent, as `Account.include`."""
    if account := _ACCOUNT.get():
        account.include(run, spend)


class ModelsOfStep(ModelStep):
    """For what serves many runs and asks models in a step's name: the governed models of the step that asks.

    Whatever models a run is given are the ones that its router, retriever and guards ask. Outside a run, those given
    at the opening.
    """

    def __init__(self, outside: Models) -> None:
        self._outside = outside

    @property
    def _models(self) -> Models:
        return _MODELS.get() or self._outside


class Governed(ModelStep):
    """`services.Models` under the policies and the budget of one step's `account`.

    `chat` and `embed` raise `StoppedError` besides what the protocol says.
    """

    def __init__(self, models: Models, account: Account) -> None:
        super().__init__(models)
        self._account = account

    async def chat(self, request: ModelRequest) -> Completion:
        account, role, models = self._account, request.role, self.chain(request.role)
        _refuse_denied(account, models)
        prompt, answer = sum(self.tokens(message.content) for message in request.messages), request.max_tokens
        if request.schema is not None:
            # an answer that does not fit is sent back once, with what was wrong with it
            prompt, answer = 2 * prompt + 2 * answer + _SENT_BACK, 2 * answer
        usd = self.bound(role, prompt, answer)
        reserved = await account.reserve(self.describe(role), usd, prompt + answer, request.size)
        completion = await _made(account, models, self._models.chat(request), reserved)
        await account.settle(reserved, completion.usd, completion.prompt_tokens, completion.completion_tokens)
        account.answered(request.size)
        return completion

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        account, role, models = self._account, request.role, self.chain(request.role)
        _refuse_denied(account, models)
        reserved, tokens = None, 0
        if self.bound(role, 1_000_000, 0):
            tokens = sum(map(self.tokens, request.texts))
            reserved = await account.reserve(self.describe(role), self.bound(role, tokens, 0), tokens)
        else:
            account.refuse_switched_off(models)
        made = await _made(account, models, self._models.embed(request), reserved)
        await account.settle(reserved, made.usd, tokens)
        return made


def _refuse_denied(account: Account, models: tuple[str, ...]) -> None:
    """Raises `StoppedError` SG202, SG502 unless the policies allow each of the models.

    Every model that may answer must be allowed, fallbacks too: which one will answer is not known beforehand.
    """
    state = account.state
    # what items have found in documents stands in their results, which prompts may show
    found = state.get("earlier_documents", []) if state.get("items") else []
    intent, documents = state.get("intent"), [*state.get("documents", []), *found]
    context: dict[str, Any] = {"risk": intent["risk"] if intent else "high", **item_context(state)}
    if intent:
        context["intent"] = intent["label"]
    if documents:
        context["classification"] = max(rank(document.get("classification", "restricted")) for document in documents)
    for model in models:
        provider = model.partition(":")[0]
        resource = {"type": "Model", "id": model, "provider": provider, "local": provider in LOCAL_PROVIDERS}
        decision = account.services.policy.decide(state["principal"], "use_model", resource, context)
        if not decision.allowed:
            raise account.stop(*_why(model, decision))


def _why(model: str, decision: Decision) -> tuple[str, str]:
    """Code and message of a denial."""
    rules = ", ".join(decision.rules)
    if rules.startswith("switch:"):
        return "SG502", decision.reason
    return "SG202", f"{rules or 'no rule'}: {decision.reason or 'no policy allows it'} ({model})"


async def _made(
    account: Account, models: tuple[str, ...], call: Coroutine[Any, Any, T], reserved: Reservation | None
) -> T:
    """The call's result. When it fails, the reservation is released, less what the call cost nevertheless."""
    try:
        return await _watched(account, models, call)
    except BaseException as error:
        if reserved:
            cost = error.usd if isinstance(error, ModelError) else 0.0
            if isinstance(error, StoppedError | asyncio.CancelledError):
                # cancelled: what was generated by then is unknown
                cost = reserved.usd
            if cost:
                await account.settle(reserved, cost, 0)
            else:
                await account.release(reserved)
        raise


async def _watched(account: Account, models: tuple[str, ...], call: Coroutine[Any, Any, T]) -> T:
    """The call's result; cancelled when the kill switch is set. Raises `StoppedError` SG502."""
    task = asyncio.create_task(call)
    try:
        while not (await asyncio.wait((task,), timeout=LOOK_S))[0]:
            account.refuse_switched_off(models)
        return task.result()
    finally:
        if not task.done():
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
            # a provider that does not stop is abandoned
            await asyncio.wait((task,), timeout=LOOK_S)
