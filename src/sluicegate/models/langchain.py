"""Every other provider, by LangChain's ``provider:model`` names.

A provider's package is not a dependency of ours: the one that a workflow names is installed by who writes it. Keys are
read from the provider's own variables, and no message of ours quotes what a provider says about a key.
"""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sluicegate.errors import ModelError, nearest
from sluicegate.models.config import ModelConfig
from sluicegate.models.provider import Answer, Ask
from sluicegate.models.windows import unit
from sluicegate.services import TokenLogprob

__all__ = ["KEYS", "LangChain", "known_providers"]

KEYS: dict[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "azure_openai": "AZURE_OPENAI_API_KEY",
    "cohere": "COHERE_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "google_genai": "GOOGLE_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistralai": "MISTRAL_API_KEY",
    "nvidia": "NVIDIA_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "perplexity": "PPLX_API_KEY",
    "together": "TOGETHER_API_KEY",
    "upstage": "UPSTAGE_API_KEY",
    "xai": "XAI_API_KEY",
}
"""The variable that holds each provider's key."""

GIVES_LOGPROBS = frozenset({"azure_openai", "deepseek", "fireworks", "openai", "openrouter", "together", "xai"})
FIXED_TEMPERATURE = re.compile(r"^(o\d|gpt-5)")
"""Reasoning models, which refuse a temperature."""

CUT = frozenset({"length", "max_tokens", "MAX_TOKENS"})


def known_providers() -> list[str]:
    """The providers LangChain can make by name."""
    from langchain.chat_models import base

    return sorted(getattr(base, "_BUILTIN_PROVIDERS", KEYS))


class LangChain:
    """Any provider of `init_chat_model`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._name = config.use
        self._made = lru_cache(maxsize=16)(self._make)
        if config.provider not in known_providers():
            near = nearest(config.provider, [*known_providers(), "embedded", "ollama"])
            raise ModelError(
                "SG308",
                f"there is no provider {config.provider!r}",
                mend=f"Did you mean {near!r}?" if near else "See `sluicegate models list` for the providers",
            )
        self._made(16, 0.0)  # says at once that a package or a key is missing

    async def chat(self, ask: Ask) -> Answer:
        model = self._made(ask.max_tokens, ask.temperature)
        messages = [(each.role, each.content) for each in ask.messages]
        extra: dict[str, Any] = {"stop": list(ask.stop)} if ask.stop else {}
        if ask.logprobs and self._config.provider in GIVES_LOGPROBS:
            extra |= {"logprobs": True, "top_logprobs": min(ask.logprobs, 20)}
        try:
            if ask.schema is not None:
                titled = {"title": "Answer", "description": "The answer.", **ask.schema}
                reply = await model.with_structured_output(titled, include_raw=True).ainvoke(messages, **extra)
                return _answer(reply["raw"], _structured_text(reply))
            if ask.on_token is None:
                reply = await model.ainvoke(messages, **extra)
                return _answer(reply, str(reply.text))
            whole: Any = None
            async for chunk in model.astream(messages, **extra):
                whole = chunk if whole is None else whole + chunk
                if piece := str(chunk.text):
                    ask.on_token(piece)
        except ModelError:
            raise
        except Exception as error:
            raise self._explained(error) from error
        if whole is None:
            raise ModelError("SG305", f"{self._name} gave no answer")
        return _answer(whole, str(whole.text))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        from langchain.embeddings import init_embeddings

        try:
            embedder: Any = init_embeddings(self._config.model, provider=self._config.provider, **self._address())
            return [unit(vector) for vector in await embedder.aembed_documents(list(texts))]
        except Exception as error:
            raise self._explained(error) from error

    async def identity(self) -> str:
        return self._name

    async def warm(self) -> None:
        self._made(16, 0.0)

    def _address(self) -> dict[str, Any]:
        return {"base_url": self._config.base_url} if self._config.base_url else {}

    def _make(self, max_tokens: int, temperature: float) -> Any:
        from langchain.chat_models import init_chat_model

        settings: dict[str, Any] = {"max_tokens": max_tokens, "timeout": self._config.timeout_s, "max_retries": 0}
        if not FIXED_TEMPERATURE.match(self._config.model):
            settings["temperature"] = temperature
        try:
            model: Any = init_chat_model(
                self._config.model, model_provider=self._config.provider, **settings, **self._address()
            )
        except ImportError as error:
            raise self._no_package(error) from error
        except Exception as error:
            raise self._no_key(error) from error
        return model

    def _no_package(self, error: ImportError) -> ModelError:
        named = re.search(r"pip install ([A-Za-z0-9_.-]+)", str(error))
        package = (named[1] if named else f"langchain-{self._config.provider}").strip("`.")
        return ModelError(
            "SG308", f"{self._name} needs the package {package}", mend=f"Install it: `uv pip install {package}`"
        )

    def _no_key(self, error: Exception) -> ModelError:
        variable = KEYS.get(self._config.provider)
        if variable and not os.environ.get(variable):
            return ModelError("SG308", f"{self._name} needs a key", mend=f"Set {variable}")
        return ModelError("SG308", f"{self._name} cannot be made: {type(error).__name__}", mend="Check its settings")

    def _explained(self, error: Exception) -> ModelError:
        """Providers share no exceptions: their HTTP status decides, else the exception's name."""
        if isinstance(error, ImportError):
            return self._no_package(error)
        status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
        kind = type(error).__name__
        folded = str(error).casefold()
        if status in (401, 403):
            variable = KEYS.get(self._config.provider, "its key")
            return ModelError("SG308", f"{self._name} refuses the key", mend=f"Check {variable}")
        if status == 404:
            return ModelError("SG302", f"the provider has no {self._config.model}", mend="Check the model's name")
        if status in (408, 504) or "timeout" in kind.casefold():
            return ModelError("SG303", f"{self._name} timed out", mend="Raise `timeout_s`")
        if isinstance(status, int) and (status == 429 or status >= 500):
            return ModelError("SG304", f"{self._name} is overloaded (HTTP {status})", mend="Try later")
        if status in (400, 413) and ("context" in folded or "too long" in folded):
            return ModelError("SG314", f"the prompt is too long for {self._name}", mend="Shorten it")
        if "connect" in kind.casefold() or isinstance(error, ConnectionError):
            return ModelError(
                "SG301", f"{self._name} cannot be reached: {kind}", mend="Check the network and `base_url`"
            )
        return ModelError("SG305", f"{self._name} failed: {kind}" + (f" (HTTP {status})" if status else ""))


def _structured_text(reply: dict[str, Any]) -> str:
    """Providers answer a schema in the text or as the arguments of a tool call; both become JSON text."""
    import json

    parsed = reply.get("parsed")
    return str(reply["raw"].text) if parsed is None else json.dumps(parsed, ensure_ascii=False)


def _answer(message: Any, text: str) -> Answer:
    usage: dict[str, Any] = message.usage_metadata or {}
    details: dict[str, Any] = usage.get("input_token_details") or {}
    about: dict[str, Any] = message.response_metadata or {}
    finish = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
    logprobs: dict[str, Any] = about.get("logprobs") or {}
    content: list[dict[str, Any]] = logprobs.get("content") or []
    return Answer(
        text=text,
        prompt_tokens=int(usage.get("input_tokens", 0)),
        completion_tokens=int(usage.get("output_tokens", 0)),
        finish="length" if finish in CUT else "stop",
        logprobs=tuple(
            TokenLogprob(
                entry["token"],
                entry["logprob"],
                _alternatives(entry.get("top_logprobs")),
            )
            for entry in content
        ),
        cached_tokens=int(details.get("cache_read") or 0),
    )


def _alternatives(entries: Sequence[dict[str, Any]] | None) -> tuple[tuple[str, float], ...]:
    return tuple((entry["token"], entry["logprob"]) for entry in entries or ())
