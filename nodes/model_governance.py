"""The only way to a model: every call of a run is checked by the policies, the kill switch and the ledger.

    update = await governed(node, state, services)

A step runs its node this way. The node is given `services` whose models are governed for it; the router, the retriever
and the guards hold `Governed` models too, which find the step they are called in. For each call: may every model that
could answer be used, do the budgets have its upper bound left, then the call, then booking its real cost. A call
that is not allowed raises `StoppedError`, and `spend` of the state says so: a fact that branches decide on.

Free calls are not reserved, so local embeddings cost no write. A call in progress is cancelled when one of its
models is switched off. Outside a run (fitting, ingesting, measuring) nothing is checked: an operator does that.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from sluicegate.errors import ModelError, StoppedError
from sluicegate.models.config import LOCAL_PROVIDERS
from sluicegate.nodes.kind import Node
from sluicegate.policies.cedar.entities import rank
from sluicegate.services import Completion, Decision, Embeddings, Message, Models, Refusal, Reservation, Services
from sluicegate.state import Spend, State

__all__ = ["Account", "Governed", "counted_as", "governed", "no_spend"]

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
    """What one visit of a node spends, on top of its run's spending so far."""

    def __init__(self, state: State, services: Services) -> None:
        self.state, self.services = state, services
        self.spend: Spend = {**no_spend(), **(state.get("spend") or no_spend())}
        self.touched = False
        """Something was spent, or not allowed."""
        self.size: Literal["slm", "llm"] = "slm"
        """What the next chat counts as."""
        self._stopped = False

    def chatted(self, completion: Completion) -> None:
        self.charge(completion.usd, completion.prompt_tokens, completion.completion_tokens)
        if self.size == "llm":
            self.spend["llm_calls"] += 1
        else:
            self.spend["slm_calls"] += 1
        if not self._stopped:
            self.spend["stopped"] = False

    def charge(self, usd: float, prompt_tokens: int, completion_tokens: int = 0) -> None:
        self.touched = True
        self.spend["usd"] += usd
        self.spend["prompt_tokens"] += prompt_tokens
        self.spend["completion_tokens"] += completion_tokens

    def stop(self, code: str, message: str) -> StoppedError:
        """Record the first reason why this visit was stopped; returns the error to raise."""
        if not self._stopped:
            self.spend["stopped"], self.spend["stopped_by"] = True, f"{code} {message}"
        self.touched = self._stopped = True
        return StoppedError(code, message)


_ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)


async def governed(node: Node, state: State, services: Services) -> dict[str, Any]:
    """Run a node; its update, with `spend` where it called a paid model or was not allowed to."""
    account = Account(state, services)
    token = _ACCOUNT.set(account)
    try:
        given = dataclasses.replace(services, models=Governed(services.models, account))
        update = await node(state, given)
    finally:
        _ACCOUNT.reset(token)
    return {**update, "spend": account.spend} if account.touched else update


def counted_as(size: Literal["slm", "llm"]) -> None:
    """Count the chats that follow in this node as the small or the large model's."""
    if account := _ACCOUNT.get():
        account.size = size


class Governed:
    """`services.Models` under the policies and the budget, for `account` or the step that the call is made in.

    `chat` and `embed` raise `StoppedError` besides what the protocol says.
    """

    def __init__(self, models: Models, account: Account | None = None) -> None:
        self._models = models
        self._own = account

    async def chat(
        self,
        role: str,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] = (),
        logprobs: int = 0,
        seed: int = 0,
        on_token: Callable[[str], None] | None = None,
    ) -> Completion:
        def call() -> Coroutine[Any, Any, Completion]:
            return self._models.chat(
                role,
                messages,
                max_tokens=max_tokens,
                temperature=temperature,
                schema=schema,
                stop=stop,
                logprobs=logprobs,
                seed=seed,
                on_token=on_token,
            )

        account = self._own or _ACCOUNT.get()
        if account is None:
            return await call()
        models = _allowed(account, self.chain(role))
        prompt, answer = sum(self.tokens(message.content) for message in messages), max_tokens
        if schema is not None:
            # an answer that does not fit is sent back once, with what was wrong with it
            prompt, answer = 2 * prompt + 2 * max_tokens + _SENT_BACK, 2 * max_tokens
        reserved = _reserved(account, self.describe(role), self.bound(role, prompt, answer), prompt + answer)
        completion = await _made(account, models, call, reserved)
        tokens = completion.prompt_tokens + completion.completion_tokens
        account.services.ledger.settle(reserved, usd=completion.usd, tokens=tokens)
        account.chatted(completion)
        return completion

    async def embed(
        self, role: str, texts: Sequence[str], *, like: str | None = None, remember: bool = False
    ) -> Embeddings:
        def call() -> Coroutine[Any, Any, Embeddings]:
            return self._models.embed(role, texts, like=like, remember=remember)

        account = self._own or _ACCOUNT.get()
        if account is None:
            return await call()
        models = _allowed(account, self.chain(role))
        if not self.bound(role, 1_000_000, 0):
            if off := _switched(account, models):
                raise account.stop(off.code, off.limit)
            return await _made(account, models, call)
        tokens = sum(map(self.tokens, texts))
        reserved = _reserved(account, self.describe(role), self.bound(role, tokens, 0), tokens)
        made = await _made(account, models, call, reserved)
        account.services.ledger.settle(reserved, usd=made.usd, tokens=tokens)
        account.charge(made.usd, tokens)
        return made

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.price(role, prompt_tokens, completion_tokens)

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self._models.bound(role, prompt_tokens, completion_tokens)

    def tokens(self, text: str) -> int:
        return self._models.tokens(text)

    def describe(self, role: str) -> str:
        return self._models.describe(role)

    def chain(self, role: str) -> tuple[str, ...]:
        return self._models.chain(role)


def _allowed(account: Account, models: tuple[str, ...]) -> tuple[str, ...]:
    """`models`, once the policies allow each. Raises `StoppedError` SG202, SG502.

    Every model that may answer must be allowed, fallbacks too: which one will answer is not known beforehand.
    """
    state = account.state
    intent, documents = state.get("intent"), state.get("documents", [])
    context: dict[str, Any] = {"risk": intent["risk"] if intent else "high"}
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
    return models


def _why(model: str, decision: Decision) -> tuple[str, str]:
    """Code and message of a denial."""
    rules = ", ".join(decision.rules)
    if rules.startswith("switch:"):
        return "SG502", decision.reason
    return "SG202", f"{rules or 'no rule'}: {decision.reason or 'no policy allows it'} ({model})"


def _switched(account: Account, models: tuple[str, ...]) -> Refusal | None:
    """Which of the models, the intent and the workflow is switched off."""
    intent, services = account.state.get("intent"), account.services
    label, name = intent["label"] if intent else "", services.workflow.name
    found = (services.ledger.switched(model=model, intent=label, workflow=name) for model in models)
    return next(filter(None, found), None)


def _reserved(account: Account, model: str, usd: float, tokens: int) -> Reservation:
    """Raises `StoppedError` SG501, SG502."""
    intent, services = account.state.get("intent"), account.services
    made = services.ledger.reserve(
        run=account.state["run"]["id"],
        principal=account.state["principal"]["id"],
        intent=intent["label"] if intent else "",
        workflow=services.workflow.name,
        model=model,
        usd=usd,
        tokens=tokens,
    )
    if isinstance(made, Refusal):
        raise account.stop(made.code, made.limit)
    account.spend["estimated_usd"] += made.usd
    return made


async def _made(
    account: Account,
    models: tuple[str, ...],
    call: Callable[[], Coroutine[Any, Any, T]],
    reserved: Reservation | None = None,
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
                account.services.ledger.settle(reserved, usd=cost, tokens=0)
                account.charge(cost, 0)
            else:
                account.services.ledger.release(reserved)
        raise


async def _watched(account: Account, models: tuple[str, ...], call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The call's result; cancelled when the kill switch is set. Raises `StoppedError` SG502."""
    task = asyncio.create_task(call())
    try:
        while not (await asyncio.wait((task,), timeout=LOOK_S))[0]:
            if off := _switched(account, models):
                raise account.stop(off.code, off.limit)
        return task.result()
    finally:
        if not task.done():
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
            # a provider that does not stop is abandoned
            await asyncio.wait((task,), timeout=LOOK_S)
