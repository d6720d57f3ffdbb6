"""An Ollama server on the loopback, for tests: the documented REST API on the embedded models.

It follows https://github.com/ollama/ollama/blob/main/docs/api.md: NDJSON streams, `format` schemas, logprobs,
`truncate`, error bodies; and the server's source in what it does with options and thinking (`ollama_api`) and with
texts to embed (`ollama_bert`). `faults` makes it slow, overloaded, out of memory, talk nonsense or die in the middle.
Run it by hand with ``python tests/support/ollama_server.py PORT``.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import chain
from queue import Queue
from typing import Any, Literal, Self

from sluicegate.errors import ModelError
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.embedded import Runtime
from sluicegate.models.provider import ModelResponse
from sluicegate.services import Message, ModelRequest, TokenLogprob
from tests.support.loopback import LoopbackServer
from tests.support.ollama_api import SAMPLING, About, Refused, constrained, effective, thoughts_of
from tests.support.ollama_bert import OllamaBert

MODELS = {"smollm2:135m": "smollm2-135m", "all-minilm:latest": "all-minilm-l6-v2"}

DEATHS = {
    "loading": "llama runner process has terminated with exit code -1",
    "reading": "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details",
    "answering": "an error was encountered while running the model: unexpected EOF",
}


@dataclass
class Faults:
    """What goes wrong; nothing by default."""

    held: threading.Event | None = None
    """Answer nothing before it is set."""
    status: int = 0
    error: str = ""
    garbage: bool = False
    die_after: int | None = None
    """Close the connection after so many lines."""
    error_after: int | None = None
    """Send an error line after so many lines."""
    runner_dies: Literal["", "loading", "reading", "answering"] = ""
    """The process of the model is killed there, as the texts and statuses of a real 0.24.0 were seen."""
    answers: str | None = None
    """This text, instead of what the model says."""
    thinks: str = ""
    """Thinking before the answer, in its own field, as a thinking model's."""
    counts: bool = True
    """Whether the last line says how many tokens were counted."""
    offline: bool = False
    """The server has no network: nothing can be pulled."""
    ignores_truncate: bool = False
    """As servers did before `truncate` existed for chats: a long prompt loses its start."""


class ServedRuntime(Runtime):
    """Reads control tokens wherever they stand, as a server does; `read` is the last prompt."""

    read: str = ""

    def prompt(self, messages: Sequence[Message]) -> str:
        plain = [{"role": each.role, "content": each.content} for each in messages]
        self.read = self.post("/apply-template", {"messages": plain})["prompt"]
        return self.read


class OllamaServer(LoopbackServer):
    """Serves while its block runs; `url`, `requests` (path, body), `about` and `faults` are for the test."""

    def __init__(self, port: int = 0, models: dict[str, str] | None = None) -> None:
        self.models = dict(MODELS if models is None else models)
        self.about: dict[str, About] = {}
        self.faults = Faults()
        self.options: list[dict[str, Any]] = []
        """Of each chat, what applied after the defaults of server and Modelfile."""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        server = self

        class Handler(_Handler):
            ollama = server

        self.url = self.listen(Handler, port)

    def __enter__(self) -> Self:
        # not while a request is served: that may outlive its test, and the cache that the test had set
        for name in MODELS.values():
            weights.ensure(name)
        return super().__enter__()

    def wait(self) -> None:
        self._thread.join()

    def runtime(self, model: str) -> ServedRuntime:
        return _runtime(self.models[model])


_runtimes: dict[str, ServedRuntime] = {}


def _runtime(name: str) -> ServedRuntime:
    return _runtimes.setdefault(name, ServedRuntime(name, None))


@dataclass
class Stream:
    """Lines to send, made while they are sent."""

    lines: Iterator[dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    ollama: OllamaServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            body = json.loads(raw or b"{}")
        except ValueError as error:
            self._send(400, {"error": str(error)})
            return
        self._serve(body)

    def do_HEAD(self) -> None:
        self._send(200, {})

    def _serve(self, body: dict[str, Any]) -> None:
        self.ollama.requests.append((self.path, body))
        try:
            self._answer(body)
        except (BrokenPipeError, ConnectionResetError):  # who asked has gone
            self.close_connection = True

    def _answer(self, body: dict[str, Any]) -> None:
        faults = self.ollama.faults
        try:
            if faults.held:
                faults.held.wait()
            if faults.status:
                self._send(faults.status, {"error": faults.error})
                return
            if faults.garbage:
                self._raw(200, b"<html>not Ollama</html>\n")
                return
            route = f"_{self.command}{self.path}".lower().replace("/", "_")
            if not hasattr(self, route):
                self._raw(404, b"404 page not found")
                return
            reply = getattr(self, route)(body)
            if not isinstance(reply, Stream):
                self._send(200, reply)
            elif body.get("stream", True):
                self._stream(reply.lines)
            else:
                self._die("answering")
                self._send(200, _joined(list(reply.lines)))
        except Refused as error:
            self._send(error.status, {"error": error.message})
        except ModelError as error:
            self._send(500, {"error": error.message})

    def _get_api_version(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"version": "0.24.0"}

    def _get_api_tags(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"models": [self._described(name) for name in self.ollama.models]}

    def _post_api_show(self, body: dict[str, Any]) -> dict[str, Any]:
        name = self._model(body)
        weight, about = weights.WEIGHTS[self.ollama.models[name]], self._about(name)
        capability = "completion" if weight.kind == "chat" else "embedding"
        return {
            "modelfile": f"FROM {name}",
            "parameters": about.printed,
            "template": about.template,
            "details": self._described(name)["details"] | {"family": about.family},
            "model_info": {"general.architecture": about.family, f"{about.family}.context_length": weight.context},
            "capabilities": [capability, *(["thinking"] if about.thinks != "never" else [])],
        }

    def _post_api_pull(self, body: dict[str, Any]) -> Stream:
        name = str(body.get("model") or body.get("name"))
        full = name if ":" in name else f"{name}:latest"

        def lines() -> Iterator[dict[str, Any]]:
            yield {"status": "pulling manifest"}
            if self.ollama.faults.offline:
                address = f"https://registry.ollama.ai/v2/library/{full.replace(':', '/manifests/')}"
                failed = "dial tcp: lookup registry.ollama.ai on 127.0.0.53:53: server misbehaving"
                yield {"error": f'pull model manifest: Get "{address}": {failed}'}
                return
            if full not in MODELS:
                yield {"error": "pull model manifest: file does not exist"}
                return
            weight = weights.WEIGHTS[MODELS[full]]
            digest = f"sha256:{weight.digest}"
            for tenth in range(0, 11, 5):
                yield {
                    "status": f"pulling {weight.digest[:12]}",
                    "digest": digest,
                    "total": weight.wheels[0].bytes,
                    "completed": weight.wheels[0].bytes * tenth // 10,
                }
            yield {"status": "verifying sha256 digest"}
            self.ollama.models[full] = MODELS[full]
            yield {"status": "success"}

        return Stream(lines())

    def _post_api_embed(self, body: dict[str, Any]) -> dict[str, Any]:
        name = self._model(body)
        texts = [body["input"]] if isinstance(body.get("input"), str) else list(body.get("input") or [])
        self._die("loading")
        if self.ollama.faults.runner_dies:
            raise Refused(400, 'do embedding request: Post "http://127.0.0.1:37943/embedding": EOF')
        started = time.perf_counter_ns()
        bert = OllamaBert.of(self.ollama.models[name])
        tokens = [bert.tokens(text) for text in texts]
        if body.get("truncate") is False and any(len(each) > bert.longest for each in tokens):
            raise Refused(400, "the input length exceeds the context length")
        return {
            "model": name,
            "embeddings": [bert.embed(each[: bert.longest]) for each in tokens],
            "total_duration": time.perf_counter_ns() - started,
            "prompt_eval_count": sum(map(len, tokens)),
        }

    def _die(self, at: str) -> None:
        if self.ollama.faults.runner_dies == at:
            raise Refused(500, DEATHS[at])

    def _post_api_chat(self, body: dict[str, Any]) -> Stream:
        messages = [Message(each["role"], each.get("content", "")) for each in body.get("messages") or []]
        return self._generated(body, messages, lambda piece: {"message": {"role": "assistant", "content": piece}})

    def _post_api_generate(self, body: dict[str, Any]) -> Stream:
        system = [Message("system", body["system"])] if body.get("system") else []
        messages = [*system, Message("user", body["prompt"])] if body.get("prompt") else []
        return self._generated(body, messages, lambda piece: {"response": piece})

    def _generated(self, body: dict[str, Any], messages: list[Message], shaped: Any) -> Stream:
        name = self._model(body)
        verb = self.path.rpartition("/")[2]
        if weights.WEIGHTS[self.ollama.models[name]].kind != "chat":
            raise Refused(400, f'"{body["model"]}" does not support {verb}')
        about = self._about(name)
        thoughts = thoughts_of(name, about, body.get("think"))
        self._die("loading")
        runtime = self.ollama.runtime(name)
        head = {"model": name, "created_at": datetime.now(UTC).isoformat()}
        if not messages:
            runtime.executor.submit(runtime.load).result()
            return Stream(iter([{**head, **shaped(""), "done": True, "done_reason": "load"}]))
        self._die("reading")
        options = effective(about, body)
        self.ollama.options.append(options)
        context = int(options["num_ctx"])
        messages = runtime.executor.submit(self._fitted, runtime, messages, context, body).result()
        if self.ollama.faults.answers is not None:
            return Stream(self._scripted(head, shaped, self.ollama.faults))
        predict = int(options["num_predict"]) if options["num_predict"] > 0 else context
        wanted = constrained(about, body.get("format"), thoughts)
        ask = ModelRequest(
            "slm",
            messages,
            max_tokens=predict - len(thoughts),
            temperature=float(options["temperature"]),
            schema={"type": "object"} if wanted == "json" else wanted or None,
            stop=tuple(options["stop"]),
            logprobs=int(body.get("top_logprobs") or 1) if body.get("logprobs") else 0,
            seed=random.getrandbits(31) if options["seed"] < 0 else int(options["seed"]),
        )
        sampling = {key: options[key] for key in SAMPLING}
        thinking = [{**head, **_thought(one), "done": False} for one in thoughts[:predict]]
        if ask.max_tokens <= 0:
            cut = {"done": True, "done_reason": "length", **_counts(11, predict, self.ollama.faults)}
            return Stream(iter([*thinking, {**head, **shaped(""), **cut}]))
        return Stream(chain(thinking, self._lines(runtime, ask, sampling, head, shaped, len(thoughts))))

    def _lines(
        self,
        runtime: Runtime,
        ask: ModelRequest,
        sampling: dict[str, Any],
        head: dict[str, Any],
        shaped: Any,
        thought: int,
    ) -> Iterator[dict[str, Any]]:
        pieces: Queue[str | None] = Queue()
        gone = threading.Event()
        started = time.perf_counter_ns()
        future = runtime.executor.submit(runtime.chat, ask, gone, pieces.put, sampling)
        future.add_done_callback(lambda _done: pieces.put(None))
        try:
            # a piece's logprobs are known when the call has ended
            while not ask.logprobs and (piece := pieces.get()) is not None:
                yield {**head, **shaped(piece), "done": False}
            answer: ModelResponse = future.result()
        finally:
            gone.set()
        for token in answer.logprobs:
            yield {**head, **shaped(token.token), "logprobs": [_logprob(token)], "done": False}
        yield {
            **head,
            **shaped(""),
            "done": True,
            "done_reason": answer.finish,
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            **_counts(answer.prompt_tokens, answer.completion_tokens + thought, self.ollama.faults),
        }

    def _scripted(self, head: dict[str, Any], shaped: Any, faults: Faults) -> Iterator[dict[str, Any]]:
        for piece in faults.thinks.split(" ") if faults.thinks else ():
            yield {**head, **_thought(piece), "done": False}
        for piece in (faults.answers or "").splitlines(keepends=True):
            yield {**head, **shaped(piece), "done": False}
        yield {**head, **shaped(""), "done": True, "done_reason": "stop", **_counts(11, 7, faults)}

    def _fitted(
        self, runtime: ServedRuntime, messages: list[Message], context: int, body: dict[str, Any]
    ) -> list[Message]:
        """The messages as they fit `num_ctx`: all, refused, or with the start of the last one gone."""
        tokens = len(runtime.post("/tokenize", {"content": runtime.prompt(messages)})["tokens"])
        if tokens <= context:
            return messages
        if body.get("truncate") is False and not self.ollama.faults.ignores_truncate:
            raise Refused(400, f"the prompt of {tokens} tokens exceeds the context length of {context}")
        return [*messages[:-1], Message(messages[-1].role, messages[-1].content[-context:])]

    def _model(self, body: dict[str, Any]) -> str:
        asked = str(body.get("model") or body.get("name") or "")
        if not asked:
            raise Refused(400, "model is required")
        name = asked if ":" in asked else f"{asked}:latest"
        if name not in self.ollama.models:
            raise Refused(404, f"model '{asked}' not found")
        return name

    def _about(self, name: str) -> About:
        return self.ollama.about.get(name, About())

    def _described(self, name: str) -> dict[str, Any]:
        weight = weights.WEIGHTS[self.ollama.models[name]]
        return {
            "name": name,
            "model": name,
            "modified_at": "2026-01-01T00:00:00Z",
            "size": weight.wheels[0].bytes,
            "digest": weight.digest,
            "details": {"format": "gguf", "family": "llama", "parameter_size": "135M", "quantization_level": "Q4_1"},
        }

    def _stream(self, lines: Iterator[dict[str, Any]]) -> None:
        faults = self.ollama.faults
        first = next(lines)  # what fails before the first line has a status of its own
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number, line in enumerate(chain([first], lines)):
                if faults.die_after is not None and number >= faults.die_after:
                    self.close_connection = True
                    return
                if faults.runner_dies == "answering" and number:
                    self._chunk({"error": DEATHS["answering"]})
                    break
                if faults.error_after is not None and number >= faults.error_after:
                    self._chunk({"error": faults.error})
                    break
                self._chunk(line)
        finally:
            close = getattr(lines, "close", None)
            if close:
                close()
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _send(self, status: int, body: dict[str, Any]) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json")

    def _raw(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _thought(piece: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", "thinking": f"{piece} "}}


def _joined(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The single object that a call without streaming gets."""
    last = dict(lines[-1])
    if "message" in last:
        last["message"] = {"role": "assistant", "content": "".join(line["message"]["content"] for line in lines)}
    if "response" in last:
        last["response"] = "".join(line["response"] for line in lines)
    logprobs = [entry for line in lines for entry in line.get("logprobs") or ()]
    return {**last, "logprobs": logprobs} if logprobs else last


def _counts(prompt: int, answer: int, faults: Faults) -> dict[str, int]:
    if not faults.counts:
        return {}
    return {"prompt_eval_count": prompt, "prompt_eval_duration": 1, "eval_count": answer, "eval_duration": 1}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    others = [{"token": text, "logprob": value} for text, value in token.alternatives]
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": others}


if __name__ == "__main__":
    with OllamaServer(int(sys.argv[1]) if len(sys.argv) > 1 else 11434) as running:
        print(running.url, flush=True)
        running.wait()
