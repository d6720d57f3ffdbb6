"""Models in this process, on llama.cpp (`xllamacpp`): a fresh machine answers without a server or a key.

``embedded:NAME`` is one of `weights.WEIGHTS`, ``embedded:PATH.gguf`` a file of the user's own. A process loads a model
and reads its header once, at its first call, and serves one call at a time in the model's own thread, so the event loop
stays free. A
cancelled call stops at its next token or its next 256 tokens of prompt. A common prefix of two prompts is
evaluated once.
"""

import asyncio
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar

from sluicegate.errors import ModelError, PromptTooLongError, UnusableAnswerError
from sluicegate.files import unchanged_sha256
from sluicegate.models.config import SamplerOptions
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.header import ModelFile
from sluicegate.models.embedded.threads import threads
from sluicegate.models.embedded.worker_thread import Cancelled, in_thread
from sluicegate.models.embeddings.chunking import MOST_CHARACTERS, WINDOW_CHARACTERS, composed, halves, mean
from sluicegate.models.provider import ModelResponse, encodable
from sluicegate.models.structured import closed
from sluicegate.services import Message, ModelRequest, TokenLogprob

__all__ = ["CONTEXT", "Embedded"]

CONTEXT = 4096
"""Default context of an embedded chat model in tokens; SmolLM2 keeps 23 KB of cache for each."""

BATCH = 256
"""Prompt tokens evaluated at a time, which bounds how soon a cancelled call stops."""

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Without it a small model may fill its whole allowance with blank lines, which JSON allows."""

T = TypeVar("T")


class Runtime:
    """One loaded model; made once per process by `_runtime`, its methods run in its own thread only."""

    def __init__(self, name: str, context: int | None, file: Path | None = None) -> None:
        self.name = name
        self.context = context
        self.file = file
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"embedded-{Path(name).stem}")
        self.server: Any = None
        self.path = Path()
        self.embeds = False
        self.token_limit = 0
        self.prefix = self.passage_prefix = ""
        self.key = secrets.token_urlsafe(24)

    def load(self) -> None:
        if self.server is not None:
            return
        if self.file is None:
            weight = weights.known(self.name)
            self.path = weights.located(self.name)
            self.embeds, trained = weight.kind == "embed", weight.context
            self.prefix, self.passage_prefix = weight.prefix, weight.passage_prefix
        else:
            own = ModelFile.read(self.file)
            self.path, self.embeds, trained = own.path, own.embeds, own.context
        self.token_limit = trained if self.embeds else min(self.context or CONTEXT, trained)
        try:
            self.server = _server(self.path, self.token_limit, embeds=self.embeds, key=self.key)
        except (RuntimeError, MemoryError) as error:
            raise ModelError(
                "SG304", f"embedded:{self.name} cannot be loaded: {error}", hint="Free memory, or use a smaller model"
            ) from error

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Calls that the in-process API lacks: the chat template and the tokenizer."""
        self.load()
        connection = HTTPConnection(self.server.listening_address.removeprefix("http://"), timeout=10)
        try:
            connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {self.key}"})
            return json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise UnusableAnswerError(f"embedded:{self.name} does not respond to {path}: {error}") from error
        finally:
            connection.close()

    def chat(
        self,
        request: ModelRequest,
        gone: threading.Event,
        say: Callable[[str], None],
        sampling: Mapping[str, Any],
    ) -> ModelResponse:
        self.load()
        if self.embeds:
            raise UnusableAnswerError(
                f"embedded:{self.name} is an embedding model; it cannot chat", hint="Name a chat model for this role"
            )
        body: dict[str, Any] = {
            **sampling,
            "prompt": self.prompt(request.messages),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stop": list(request.stop),
            "cache_prompt": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        if request.schema is not None:
            body["json_schema"] = {**closed(request.schema), "x-guidance": COMPACT}
        if request.logprobs:
            body["logprobs"] = request.logprobs
        chunks: list[dict[str, Any]] = []
        failure: list[BaseException] = []

        def take(chunk: dict[str, Any]) -> bool:
            # an exception must not travel through llama.cpp's frames
            try:
                chunks.append(chunk)
                if piece := _text(chunk):
                    say(piece)
                return gone.is_set()
            except Exception as error:
                failure.append(error)
                return True

        try:
            refused = self.server.handle_completions(body, take)
        except RuntimeError as error:
            raise UnusableAnswerError(f"embedded:{self.name} failed: {error}") from error
        if failure:
            raise failure[0]
        if gone.is_set():
            raise Cancelled
        self._check(refused, *chunks)
        return _answer(chunks)

    def prompt(self, messages: Sequence[Message]) -> str | list[str | int]:
        """The messages in the model's chat format. A content with control tokens in it is given as the tokens of its
        text, so that it cannot end its turn: a list of text, in which they count, and of tokens."""
        read_as_text: dict[str, list[int]] = {}
        shown: list[dict[str, str]] = []
        for message in messages:
            content = encodable(message.content)
            tokens = self._tokens(content, parse_special=False)
            if tokens != self._tokens(content, parse_special=True):
                content = secrets.token_hex(16)
                read_as_text[content] = tokens
            shown.append({"role": message.role, "content": content})
        rendered: str = self.post("/apply-template", {"messages": shown})["prompt"]
        if not read_as_text:
            return rendered
        parts: list[str] = re.split(f"({'|'.join(read_as_text)})", rendered)
        return [one for part in parts if part for one in read_as_text.get(part, [part])]

    def _tokens(self, text: str, *, parse_special: bool) -> list[int]:
        return self.post("/tokenize", {"content": text, "add_special": False, "parse_special": parse_special})["tokens"]

    def embed(self, texts: Sequence[str], gone: threading.Event, *, passages: bool = False) -> list[list[float]]:
        self.load()
        if not self.embeds:
            raise UnusableAnswerError(f"embedded:{self.name} is a chat model; it makes no embeddings")
        prefix = self.passage_prefix if passages else self.prefix
        vectors: list[list[float]] = []
        for text in texts:
            if gone.is_set():
                raise Cancelled
            windows = self._windows(composed(encodable(text[:MOST_CHARACTERS]), prefix), prefix)
            reply = self.server.handle_embeddings({"input": [prefix + window for window in windows]})
            self._check(reply)
            vectors.append(mean([item["embedding"] for item in reply["data"]], [len(each) for each in windows]))
        return vectors

    def _windows(self, text: str, prefix: str) -> list[str]:
        """Parts of `text` that each fit the model; the mean of their vectors is that of a longer text."""
        if len(text) <= WINDOW_CHARACTERS:
            return [text]
        if len(self.post("/tokenize", {"content": prefix + text})["tokens"]) <= self.token_limit - 2:
            return [text]
        return [window for half in halves(text) for window in self._windows(half, prefix)]

    def _check(self, *replies: Any) -> None:
        for error in (reply["error"] for reply in replies if reply and "error" in reply):
            if error.get("type") == "exceed_context_size_error":
                tokens = error.get("n_prompt_tokens")
                raise PromptTooLongError(
                    f"the prompt has {tokens} tokens, embedded:{self.name} takes {self.token_limit}",
                    hint="Shorten the prompt, retrieve fewer passages, or raise `context`",
                )
            raise UnusableAnswerError(f"embedded:{self.name}: {error.get('message', error)}")


class Embedded:
    """The provider ``embedded:``; `file` is the user's own, when the name is a path."""

    def __init__(
        self,
        name: str,
        *,
        context: int | None = None,
        options: SamplerOptions = SamplerOptions(),  # noqa: B008 - frozen
        file: Path | None = None,
    ) -> None:
        self._name = name
        self._sampling = options.sampling()
        self._runtime = _runtime(name, context, file)

    async def chat(self, request: ModelRequest) -> ModelResponse:
        loop = asyncio.get_running_loop()

        def say(piece: str) -> None:
            if request.on_token:
                loop.call_soon_threadsafe(request.on_token, piece)

        return await self._run(lambda gone: self._runtime.chat(request, gone, say, self._sampling))

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        return await self._run(lambda gone: self._runtime.embed(texts, gone, passages=passages))

    async def identity(self) -> str:
        """By what the model is, not where it lies."""
        if self._runtime.file is None:
            return f"embedded:{self._name}@{weights.known(self._name).digest}"
        await self.warm()
        return f"embedded:{self._runtime.path.name}@{await asyncio.to_thread(unchanged_sha256, self._runtime.path)}"

    async def warm(self) -> None:
        if self._runtime.server is None:
            await self._run(lambda _gone: self._runtime.load())

    async def _run(self, work: Callable[[threading.Event], T]) -> T:
        return await in_thread(self._runtime.executor, work)


_runtimes: dict[tuple[str | Path, int | None], Runtime] = {}
_runtimes_lock = threading.Lock()


def _runtime(name: str, context: int | None, file: Path | None) -> Runtime:
    with _runtimes_lock:
        return _runtimes.setdefault((file.resolve() if file else name, context), Runtime(name, context, file))


def _server(path: Path, context: int, *, embeds: bool, key: str) -> Any:
    import xllamacpp

    llama: Any = xllamacpp
    params = llama.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = context if embeds else BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads()
    params.n_gpu_layers = 0
    params.fit_params = False
    params.warmup = False
    params.cache_ram_mib = 0
    params.verbosity = -1
    # llama.cpp listens on a loopback port of its own choice; the key keeps other users of this machine out
    params.api_keys = [key]
    params.n_threads_http = 1
    params.endpoint_slots = params.endpoint_props = params.ui = False
    if embeds:
        params.embedding = True
    return llama.Server(params)


def _text(chunk: dict[str, Any]) -> str:
    return (chunk["choices"][0].get("text") or "") if chunk.get("choices") else ""


def _answer(chunks: Sequence[dict[str, Any]]) -> ModelResponse:
    last = chunks[-1] if chunks else {}
    finish = next((each["choices"][0]["finish_reason"] for each in reversed(chunks) if each.get("choices")), None)
    usage: dict[str, Any] = last.get("usage") or {}
    tokens = [token for each in chunks if each.get("choices") for token in _tokens(each["choices"][0].get("logprobs"))]
    return ModelResponse(
        text="".join(map(_text, chunks)),
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        completion_tokens=int(usage.get("completion_tokens", 0)),
        finish="length" if finish == "length" else "stop",
        logprobs=tuple(tokens),
    )


def _tokens(logprobs: dict[str, Any] | None) -> list[TokenLogprob]:
    return [
        TokenLogprob(
            token=entry["token"],
            logprob=entry["logprob"],
            alternatives=tuple((other["token"], other["logprob"]) for other in entry.get("top_logprobs", ())),
        )
        for entry in (logprobs or {}).get("content") or ()
    ]
