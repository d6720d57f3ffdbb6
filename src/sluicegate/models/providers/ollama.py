"""Models of an Ollama server, over its documented REST API.

The requests go through httpx rather than the `ollama` client, because that cannot send ``truncate: false``:
without it the server drops the start of a prompt that is longer than its context and answers as if nothing had
happened. Replies are read with the client's types.
"""

import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from sluicegate.errors import ModelError, PromptTooLongError, UnreachableError, UnusableAnswerError
from sluicegate.models.config import ModelConfig
from sluicegate.models.control_tokens import neutralised, tokens_of_template
from sluicegate.models.embeddings.chunking import MOST_CHARACTERS, WINDOW_CHARACTERS, halves, mean, unit
from sluicegate.models.provider import ModelResponse, encodable
from sluicegate.models.structured import closed
from sluicegate.services import ModelRequest, TokenLogprob

__all__ = ["Ollama", "server_url"]

CONTEXT = 4096
"""`num_ctx` where the workflow sets none; always sent, so that the server's own default never applies."""

LONGEST_TOKEN = 8
"""More characters per token than any prose has: a server that counts fewer tokens has truncated the prompt."""

ALTERNATIVES = 20
"""The most alternatives per token the server gives."""

PULLABLE = "Check the model's name at https://ollama.com/library"
OFFLINE = ("dial tcp", "lookup ", "proxyconnect", "no such host", "i/o timeout", "network is unreachable", "tls: ")
"""How Go's HTTP client reports that a host cannot be reached."""
ALWAYS_THINKS = ("gptoss", "gpt-oss")
"""Families whose chat format opens with thinking, whatever is asked for."""
OUT_OF_MEMORY = ("out of memory", "more system memory", "insufficient memory")
RUNNER_DIED = (
    "unexpected eof",
    "runner has unexpectedly stopped",
    "runner process has terminated",
    "runner process no longer running",
    "do embedding request",
    "error reading embed response",
    "error reading llm response",
)
"""How the server reports that the process of a model is gone: in an answer (status 200), before its first token (500),
while it loads (500), and while it embeds (400)."""
TOO_LONG = ("context length", "context size", "exceeds", "too long", "too large")


def server_url(base_url: str | None = None) -> str:
    """The server's address: `base_url`, else `OLLAMA_HOST` as Ollama itself reads it, else the local default."""
    host = (base_url or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434").strip()
    parts = urlsplit(host if "://" in host else f"http://{host}")
    default = 11434 if "://" not in host else 443 if parts.scheme == "https" else 80
    port = parts.port or default
    name = parts.hostname or "127.0.0.1"
    name = "127.0.0.1" if name == "0.0.0.0" else name  # noqa: S104 - where it listens is not where we call
    bracketed = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{bracketed}:{port}{parts.path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the server says of its model (`/api/show`)."""

    family: str
    capabilities: tuple[str, ...]
    control_tokens: tuple[str, ...]
    """What its chat template writes between turns."""
    stop: tuple[str, ...]
    """Where the Modelfile ends an answer; a call's own `stop` would replace it."""


class Ollama:
    """The provider ``ollama:``."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._model = config.model
        self._name = config.use
        self._url = server_url(config.base_url)
        self._context = config.context or CONTEXT
        self._known: ModelFacts | None = None

    async def chat(self, request: ModelRequest) -> ModelResponse:
        from ollama import ChatResponse

        facts = await self._facts()
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {"role": each.role, "content": neutralised(encodable(each.content), facts.control_tokens)}
                for each in request.messages
            ],
            "stream": True,
            "think": self._thinking(facts),
            "truncate": False,
            "shift": False,
            "options": {
                **self._options(),
                **self._config.options.sampling(),
                "num_predict": request.max_tokens + self._config.thinking_tokens,
                "temperature": request.temperature,
                "seed": request.seed,
                **({"stop": [*facts.stop, *request.stop]} if request.stop else {}),
            },
            **self._kept(),
        }
        if request.schema is not None:
            body["format"] = closed(request.schema)
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": min(request.logprobs, ALTERNATIVES)}
        pieces: list[str] = []
        thoughts: list[str] = []
        logprobs: list[TokenLogprob] = []
        last: Any = None
        async with self._answering("/api/chat", body) as lines:
            async for line in lines:
                last = self._parsed(ChatResponse, line)
                thoughts.append(last.message.thinking or "")
                if piece := last.message.content:
                    pieces.append(piece)
                    if request.on_token:
                        request.on_token(piece)
                logprobs += _tokens(last.logprobs)
        if last is None or not last.done:
            raise UnreachableError(f"{self._name} broke off its answer", hint="See the Ollama server's log")
        prompt_tokens = int(last.prompt_eval_count or 0)
        self._refuse_cut(request, prompt_tokens)
        return ModelResponse(
            text="".join(pieces),
            prompt_tokens=prompt_tokens,
            completion_tokens=int(last.eval_count or 0),
            finish="length" if last.done_reason == "length" else "stop",
            logprobs=tuple(logprobs),
            thinking="".join(thoughts),
        )

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:  # noqa: ARG002
        if not texts:
            return []
        return await self._embed_batch([encodable(text[:MOST_CHARACTERS]) for text in texts])

    async def identity(self) -> str:
        listed = await self.tags()
        wanted = self._model if ":" in self._model else f"{self._model}:latest"
        digest = listed.get(wanted, {}).get("digest")
        return f"{self._name}@{digest}" if digest else self._name

    async def tags(self) -> dict[str, dict[str, Any]]:
        """The server's models by name, as ``/api/tags`` gives them."""
        reply = await self._json("GET", "/api/tags", None)
        return {str(model["name"]): model for model in reply.get("models", ())}

    async def warm(self) -> None:
        body = {"model": self._model, "options": self._options(), **self._kept()}
        if "completion" in (await self._facts()).capabilities:
            await self._json("POST", "/api/generate", body)
        else:
            await self._json("POST", "/api/embed", {**body, "input": []})

    async def pull(self, on_progress: Callable[[str, int, int], None]) -> None:
        """Have the server fetch the model; `on_progress` gets the step, bytes done and bytes in all (0: unknown)."""
        async with self._answering("/api/pull", {"model": self._model, "stream": True}) as lines:
            async for line in lines:
                step: dict[str, Any] = json.loads(line)
                if "error" in step:
                    raise self._unpulled(str(step["error"]))
                on_progress(str(step.get("status", "")), int(step.get("completed", 0)), int(step.get("total", 0)))

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        body = {
            "model": self._model,
            "input": list(texts),
            "truncate": False,
            "options": self._options(),
            **self._kept(),
        }
        reply = await self._json("POST", "/api/embed", body)
        vectors: list[list[float]] = reply.get("embeddings") or []
        if len(vectors) != len(texts):
            raise UnusableAnswerError(f"{self._name} returned no embedding for some texts")
        return [unit(vector) for vector in vectors]

    async def _embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """One request; the server does not say which text is too long for it, so a refused batch is halved."""
        try:
            return await self._embed(texts)
        except PromptTooLongError:
            if len(texts) == 1:
                windows = await self._windows(texts[0])
                return [mean([vector for _, vector in windows], [len(window) for window, _ in windows])]
        middle = len(texts) // 2
        return [*await self._embed_batch(texts[:middle]), *await self._embed_batch(texts[middle:])]

    async def _windows(self, text: str) -> list[tuple[str, list[float]]]:
        """Parts of a text that is too long, with their vectors."""
        if len(text) <= WINDOW_CHARACTERS // 4:
            raise PromptTooLongError(f"{self._name} takes not even {len(text)} characters")
        parts: list[tuple[str, list[float]]] = []
        for half in halves(text):
            try:
                parts.append((half, (await self._embed([half]))[0]))
            except PromptTooLongError:
                parts += await self._windows(half)
        return parts

    def _options(self) -> dict[str, Any]:
        """Options that a model is loaded with: where they differ between two calls, the server loads it anew."""
        threads = self._config.options.num_thread
        return {"num_ctx": self._context, **({"num_thread": threads} if threads else {})}

    def _kept(self) -> dict[str, Any]:
        return {} if self._config.keep_alive is None else {"keep_alive": self._config.keep_alive}

    async def _facts(self) -> ModelFacts:
        if self._known is None:
            shown = await self._json("POST", "/api/show", {"model": self._model})
            details: dict[str, Any] = shown.get("details") or {}
            capabilities: list[str] = shown.get("capabilities") or []
            self._known = ModelFacts(
                family=str(details.get("family", "")),
                capabilities=tuple(capabilities),
                control_tokens=tokens_of_template(str(shown.get("template") or "")),
                stop=_stops(str(shown.get("parameters") or "")),
            )
        return self._known

    def _thinking(self, facts: ModelFacts) -> bool | str:
        """`think` as the model takes it. Raises `ModelError` SG308 where it cannot do what the role asks for."""
        think = self._config.think
        if not think and facts.family in ALWAYS_THINKS:
            raise ModelError(
                "SG308", f"{self._name} always thinks before it answers", hint="Set `think: low` for its role"
            )
        if think and "thinking" not in facts.capabilities:
            raise ModelError("SG308", f"{self._name} cannot think", hint="Remove `think` from its role")
        return think

    def _unpulled(self, message: str) -> ModelError:
        if any(sign in message for sign in OFFLINE):
            return UnreachableError(
                f"{self._name} cannot be pulled: the Ollama server at {self._url} has no network: {message[:200]}",
                hint="Check the network of the machine that runs `ollama serve`, and HTTPS_PROXY in its environment",
            )
        return ModelError("SG302", f"{self._name} cannot be pulled: {message[:200]}", hint=PULLABLE)

    def _refuse_cut(self, request: ModelRequest, counted: int) -> None:
        characters = sum(len(each.content) for each in request.messages)
        if counted and counted * LONGEST_TOKEN < characters:
            raise PromptTooLongError(
                f"{self._name} read only {counted} tokens of a prompt of {characters} characters",
                hint=f"Raise `context` (now {self._context}) or shorten the prompt; update Ollama to have this refused",
            )

    def _parsed(self, kind: Any, line: str) -> Any:
        try:
            reply: Any = json.loads(line)
            if isinstance(reply, dict) and "error" in reply:
                raise self._refused(500, str(reply["error"]))  # pyright: ignore[reportUnknownArgumentType]
            return kind.model_validate(reply)
        except ValueError as error:
            raise UnusableAnswerError(f"{self._name} did not answer with Ollama's API") from error

    async def _json(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        async with self._answering(path, body if body is None else {**body, "stream": False}, method) as lines:
            text = "".join([line async for line in lines])
        try:
            reply: Any = json.loads(text)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise UnusableAnswerError(f"{self._name} did not answer with Ollama's API")
        return reply  # pyright: ignore[reportUnknownVariableType]

    @asynccontextmanager
    async def _answering(
        self, path: str, body: dict[str, Any] | None, method: str = "POST"
    ) -> AsyncGenerator[AsyncIterator[str]]:
        """The reply's lines; every way it can fail becomes a `ModelError`."""
        import httpx

        try:
            async with self._client() as client, client.stream(method, path, json=body) as response:
                if response.status_code >= 400:
                    raise self._refused(response.status_code, (await response.aread()).decode("utf-8", "replace"))
                yield response.aiter_lines()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(
                f"no Ollama server at {self._url}",
                hint="Start it with `ollama serve`, or set OLLAMA_HOST to its address",
            ) from error
        except (httpx.HTTPError, UnicodeDecodeError, httpx.InvalidURL) as error:
            raise UnreachableError(f"the connection to {self._url} broke: {type(error).__name__}") from error

    def _client(self) -> Any:
        """A client for one call: it would belong to the event loop it was made in, and outlive it."""
        import httpx

        parts = urlsplit(self._url)
        key = os.environ.get("OLLAMA_API_KEY")
        return httpx.AsyncClient(
            base_url=self._url,
            timeout=httpx.Timeout(None, connect=5.0),
            trust_env=parts.hostname not in ("127.0.0.1", "localhost", "::1"),  # a proxy cannot reach our loopback
            verify=_certificates() if parts.scheme == "https" else False,
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )

    def _refused(self, status: int, body: str) -> ModelError:
        message = _error_text(body)
        folded = message.casefold()
        if status == 404:
            return ModelError(
                "SG302", f"the server at {self._url} has no {self._model}", hint=f"Run `ollama pull {self._model}`"
            )
        if status == 400 and any(sign in folded for sign in TOO_LONG):
            return PromptTooLongError(
                f"{self._name}: {message}",
                hint=f"Shorten the prompt, retrieve fewer passages, or raise `context` (now {self._context})",
            )
        if any(sign in folded for sign in OUT_OF_MEMORY):
            return ModelError(
                "SG304",
                f"{self._name} is out of memory: {message}",
                hint="Use a smaller model, lower `context`, or unload others with `ollama stop`",
            )
        if any(sign in folded for sign in RUNNER_DIED):
            return ModelError(
                "SG304",
                f"{self._name} died at work: {message}",
                hint="See the Ollama server's log; where memory ran out, use a smaller model or lower `context`",
            )
        if status in (429, 502, 503, 504):
            return ModelError(
                "SG304", f"{self._name} is overloaded: {message}", hint="Try again later, or raise OLLAMA_MAX_QUEUE"
            )
        if "does not support chat" in folded or "does not support generate" in folded:
            return UnusableAnswerError(
                f"{self._name} is an embedding model; it cannot chat", hint="Name a chat model for this role"
            )
        if status in (401, 403):
            return ModelError("SG308", f"the server at {self._url} refuses the key", hint="Set OLLAMA_API_KEY")
        return UnusableAnswerError(f"{self._name}: {message} (HTTP {status})")


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _error_text(body: str) -> str:
    try:
        reply: Any = json.loads(body)
    except ValueError:
        return body.strip()[:200]
    return str(reply["error"])[:200] if isinstance(reply, dict) and "error" in reply else body.strip()[:200]  # pyright: ignore[reportUnknownArgumentType]


def _stops(parameters: str) -> tuple[str, ...]:
    """The values of ``stop`` in a Modelfile's parameters, which are printed one a line as Go literals."""
    found: list[str] = []
    for line in parameters.splitlines():
        name, _, value = line.partition(" ")
        with suppress(ValueError):
            found += [json.loads(value)] if name == "stop" else []
    return tuple(found)


def _tokens(logprobs: Any) -> list[TokenLogprob]:
    return [
        TokenLogprob(
            token=entry.token,
            logprob=entry.logprob,
            alternatives=tuple((other.token, other.logprob) for other in entry.top_logprobs or ()),
        )
        for entry in logprobs or ()
    ]
