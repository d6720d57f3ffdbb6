"""The workflow's models by role: fallback chains, circuit breakers, prices, structured answers, embeddings.

`ModelSet` implements `services.Models`. A call goes to the first model of its role's chain that is admitted (its
breaker is not open, its probe is not below the role's minimum) and moves on when that one fails; the completion names
what was asked, what answered and why they differ. Use is safe from several tasks and threads.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sluicegate.errors import ModelError, nearest
from sluicegate.models.breaker import Breaker
from sluicegate.models.config import ModelConfig, ProbeTask, resolve
from sluicegate.models.fingerprint import PROBES, fingerprint_of, same_embedder
from sluicegate.models.provider import Answer, Ask, Provider
from sluicegate.models.providers import provider_for
from sluicegate.models.remembered import Remembered
from sluicegate.models.results import admitted, below_minimum
from sluicegate.models.structured import ask_structured
from sluicegate.models.tokens import upper_tokens
from sluicegate.services import Completion, Message

__all__ = ["Embeddings", "ModelSet"]

FAULT_OF_THE_CALL = frozenset({"SG305", "SG314"})
"""Failures that say nothing about whether the model can serve another call."""

EMBEDDED_AT_ONCE = 64
log = logging.getLogger(__name__)
T = TypeVar("T")
Call = Callable[[Provider, ModelConfig], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of one model, and which one it was."""

    vectors: list[list[float]]
    """Unit length, one per text."""
    model: str
    fingerprint: str
    """Compare with `fingerprint.same_embedder`."""
    fallback: str = ""
    """Why `model` is not the one asked for first; empty when it is."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a model gave, and what happened before."""

    name: str
    config: ModelConfig
    fallback: str


class ModelSet:
    """The models of one workflow. `provider_of` makes the provider of a model; tests give their own."""

    def __init__(
        self,
        models: Mapping[str, ModelConfig],
        *,
        provider_of: Callable[[ModelConfig], Provider] = provider_for,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = dict(models)
        self._chains = {role: resolve(self._models, role) for role in self._models}
        self._provider_of = provider_of
        self._providers: dict[str, Provider] = {}
        self._breakers: dict[str, Breaker] = {}
        self._fingerprints: dict[str, str] = {}
        self._remembered: Remembered | None = None
        self._warned: set[str] = set()
        self._clock = clock
        self._lock = threading.Lock()

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
        """As `services.Models.chat`. After a stream that broke, the next model's tokens are not streamed."""
        streamed = False

        def stream(piece: str) -> None:
            nonlocal streamed
            streamed = True
            if on_token:
                on_token(piece)

        ask = Ask(messages, max_tokens, temperature, schema, stop, logprobs, seed)

        async def call(provider: Provider, config: ModelConfig) -> tuple[Answer, Any]:
            own = replace(
                ask,
                on_token=stream if on_token and not streamed else None,
                temperature=temperature if config.temperature is None else config.temperature,
            )
            return await ask_structured(provider.chat, own) if schema is not None else (await provider.chat(own), None)

        started = time.perf_counter()
        (answer, parsed), served = await self._first(role, call)
        price = served.config.price_per_mtok
        return Completion(
            text=answer.text,
            model=served.name,
            asked=self.describe(role),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            finish=answer.finish,
            ms=(time.perf_counter() - started) * 1000,
            usd=price.usd(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) if price else 0.0,
            fallback=served.fallback,
            logprobs=answer.logprobs,
            parsed=parsed,
        )

    async def embed(self, role: str, texts: Sequence[str]) -> list[list[float]]:
        """As `services.Models.embed`."""
        return (await self._first(role, lambda provider, _config: _embedded(provider, texts)))[0] if texts else []

    async def embed_named(
        self,
        role: str,
        texts: Sequence[str],
        *,
        like: str | None = None,
        remember: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Embeddings:
        """Embeddings with the name and fingerprint of the one model that made them all.

        `like` is a fingerprint: models that would give other vectors are passed over (SG312). `remember` keeps the
        vectors in the user's cache and takes known ones from there: for examples and documents, never for what users
        ask. What is done when a long call is interrupted is kept. `on_progress` gets texts done and texts in all.
        """

        async def call(provider: Provider, config: ModelConfig) -> tuple[list[list[float]], str]:
            print_ = await self._fingerprint(provider, config.use)
            if like is not None and not same_embedder(like, print_):
                raise ModelError("SG312", f"{config.use} gives other embeddings than what was fitted or indexed")
            if remember:
                return await self._remembering(provider, texts, on_progress), print_
            return await _embedded(provider, texts, on_progress), print_

        timeless = remember or len(texts) > EMBEDDED_AT_ONCE
        (vectors, print_), served = await self._first(role, call, timeless=timeless)
        return Embeddings(vectors, served.name, print_, served.fallback)

    async def fingerprint(self, role: str) -> str:
        """The fingerprint of the embedder that answers now."""
        return (await self.embed_named(role, ())).fingerprint

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        price = self._chain(role)[0][1].price_per_mtok
        return price.usd(prompt_tokens, completion_tokens) if price else 0.0

    def tokens(self, text: str) -> int:
        """As `services.Models.tokens`; 4 more for the marks of a message's turn."""
        return upper_tokens(text) + 4

    def describe(self, role: str) -> str:
        return self._chain(role)[0][0]

    def chain(self, role: str) -> tuple[str, ...]:
        """As `services.Models.chain`."""
        return tuple(name for name, _config in self._chain(role))

    async def admitted(self, role: str, task: ProbeTask, least: float = 0.8) -> bool:
        """Whether the model that would answer for `role` has been probed on `task` and reached its minimum.

        `least` counts where the role states no minimum. An unprobed model is not admitted: it must not play a judge.
        """
        minimum = self._models[role].minimum.get(task, least) if role in self._models else least
        for name, config in self._chain(role):
            try:
                return admitted(await self._provider(name, config).identity(), task, minimum) is True
            except ModelError:
                continue
        return False

    def warm(self, roles: Sequence[str] | None = None) -> threading.Thread:
        """Load each role's first model in a background thread; what fails will be said by the call that needs it."""

        async def load() -> None:
            for role in roles or tuple(self._models):
                try:
                    await self._first(role, lambda provider, _config: provider.warm())
                except ModelError as error:
                    log.info("not warmed: %s", error)

        thread = threading.Thread(target=lambda: asyncio.run(load()), name="warm-models", daemon=True)
        thread.start()
        return thread

    def _chain(self, role: str) -> list[tuple[str, ModelConfig]]:
        if role in self._chains:
            return self._chains[role]
        near = nearest(role, self._chains)
        raise ModelError(
            "SG308",
            f"the workflow has no model for the role {role!r}",
            mend=(f"Did you mean {near!r}? " if near else "") + f"It has: {', '.join(self._chains) or 'none'}",
        )

    async def _first(self, role: str, call: Call[T], *, timeless: bool = False) -> tuple[T, Served]:
        """The first success along the role's chain. `timeless`: long work, which its own steps bound."""
        passed: list[tuple[str, ModelError]] = []
        for name, config in self._chain(role):
            try:
                result = await self._attempt(role, name, config, call, timeless=timeless)
            except ModelError as error:
                passed.append((name, error))
                continue
            if passed:
                log.warning("%s answered for %s: %s", name, role, _reasons(passed))
            return result, Served(name, config, _reasons(passed))
        last = passed[-1][1]
        raise ModelError(
            "SG309",
            f"no model of {role!r} answered: {_reasons(passed)}",
            mend=next((error.mend for _, error in passed if error.mend), None),
        ) from last

    async def _attempt(self, role: str, name: str, config: ModelConfig, call: Call[T], *, timeless: bool) -> T:
        provider = self._provider(name, config)
        if config_minimum := self._models[role].minimum:
            await self._require(role, name, provider, config_minimum)
        breaker = self._breaker(name, config)
        if not breaker.admits():
            raise ModelError("SG301", f"left alone for {config.breaker_s:g} s after {config.breaker_failures} failures")
        try:
            async with asyncio.timeout(None if timeless else config.timeout_s):
                result = await call(provider, config)
        except TimeoutError as error:
            breaker.failed()
            raise ModelError(
                "SG303", f"no answer within {config.timeout_s:g} s", mend=f"Raise `timeout_s` of {role}"
            ) from error
        except ModelError as error:
            if error.code in FAULT_OF_THE_CALL:
                breaker.abandoned()
            else:
                breaker.failed()
            raise
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()
        return result

    async def _require(self, role: str, name: str, provider: Provider, minimum: Mapping[Any, float]) -> None:
        """Pass over a model whose probe is below what the role asks; warn once about one that was never probed."""
        failed, unknown = below_minimum(await provider.identity(), minimum)
        if unknown and (warning := f"{name} plays {role} without a probe of {', '.join(unknown)}") not in self._warned:
            self._warned.add(warning)
            log.warning("%s: run `sluicegate models probe`", warning)
        if failed:
            raise ModelError("SG315", f"its probe is below the minimum of {role}: {failed}")

    async def _fingerprint(self, provider: Provider, name: str) -> str:
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprint_of(await provider.embed(PROBES))
        return self._fingerprints[name]

    async def _remembering(
        self, provider: Provider, texts: Sequence[str], report: Callable[[int, int], None] | None
    ) -> list[list[float]]:
        with self._lock:
            self._remembered = store = self._remembered or Remembered()
        identity = await provider.identity()
        distinct = list(dict.fromkeys(texts))
        known = store.get(identity, distinct)
        missing = [text for text in distinct if text not in known]
        for start in range(0, len(missing), EMBEDDED_AT_ONCE):
            some = missing[start : start + EMBEDDED_AT_ONCE]
            fresh = dict(zip(some, await provider.embed(some), strict=True))
            store.put(identity, fresh)
            known |= fresh
            if report:
                report(len(known), len(distinct))
        return [known[text] for text in texts]

    def _provider(self, name: str, config: ModelConfig) -> Provider:
        with self._lock:
            if name not in self._providers:
                self._providers[name] = self._provider_of(config)
            return self._providers[name]

    def _breaker(self, name: str, config: ModelConfig) -> Breaker:
        with self._lock:
            return self._breakers.setdefault(name, Breaker(config.breaker_failures, config.breaker_s, self._clock))


def _reasons(passed: Sequence[tuple[str, ModelError]]) -> str:
    return "; ".join(f"{name}: {error.code} {error.message}" for name, error in passed)


async def _embedded(
    provider: Provider, texts: Sequence[str], report: Callable[[int, int], None] | None = None
) -> list[list[float]]:
    vectors: list[list[float]] = []
    for start in range(0, len(texts), EMBEDDED_AT_ONCE):
        vectors += await provider.embed(texts[start : start + EMBEDDED_AT_ONCE])
        if report:
            report(len(vectors), len(texts))
    return vectors
