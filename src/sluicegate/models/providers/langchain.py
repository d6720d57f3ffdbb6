"""Every other provider, by LangChain's ``provider:model`` names.

A provider's package is not a dependency: install the one that your workflow names. Keys are read from the provider's
own variables, and no message quotes what a provider says about a key.
"""

import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sluicegate.errors import ModelError, PromptTooLongError, UnreachableError, UnusableAnswerError, nearest
from sluicegate.models.config import ModelConfig
from sluicegate.models.control_tokens import neutralised
from sluicegate.models.embeddings.chunking import unit
from sluicegate.models.provider import ModelResponse, encodable
from sluicegate.services import ModelRequest, TokenLogprob

__all__ = ["PROVIDERS", "LangChain", "ready"]

PROVIDERS: dict[str, tuple[str, str]] = {
    "anthropic": ("langchain_anthropic", "ANTHROPIC_API_KEY"),
    "azure_openai": ("langchain_openai", "AZURE_OPENAI_API_KEY"),
    "cohere": ("langchain_cohere", "COHERE_API_KEY"),
    "deepseek": ("langchain_deepseek", "DEEPSEEK_API_KEY"),
    "fireworks": ("langchain_fireworks", "FIREWORKS_API_KEY"),
    "google_genai": ("langchain_google_genai", "GOOGLE_API_KEY"),
    "groq": ("langchain_groq", "GROQ_API_KEY"),
    "mistralai": ("langchain_mistralai", "MISTRAL_API_KEY"),
    "nvidia": ("langchain_nvidia_ai_endpoints", "NVIDIA_API_KEY"),
    "openai": ("langchain_openai", "OPENAI_API_KEY"),
    "openrouter": ("langchain_openrouter", "OPENROUTER_API_KEY"),
    "perplexity": ("langchain_perplexity", "PPLX_API_KEY"),
    "together": ("langchain_together", "TOGETHER_API_KEY"),
    "upstage": ("langchain_upstage", "UPSTAGE_API_KEY"),
    "xai": ("langchain_xai", "XAI_API_KEY"),
}
"""The package and the variable of the key of providers with one key, so that a missing one is reported without
importing LangChain, which takes a second."""

GIVES_LOGPROBS = frozenset({"azure_openai", "deepseek", "fireworks", "openai", "openrouter", "together", "xai"})
FIXED_TEMPERATURE = re.compile(r"^(o\d|gpt-5)")
"""Reasoning models, which refuse a temperature."""

CUT = frozenset({"length", "max_tokens", "MAX_TOKENS"})


def ready(config: ModelConfig) -> None:
    """Check that a provider's package and key are present, without calling it. Raises `ModelError` SG308."""
    module, variable = PROVIDERS.get(config.provider, ("", ""))
    if module:
        if not _importable(module):
            raise _no_package(config, module.replace("_", "-"))
        if not os.environ.get(variable) and config.base_url is None:
            raise ModelError("SG308", f"{config.use} needs a key", hint=f"Set {variable}")
        return
    from langchain.chat_models import base

    known = [*getattr(base, "_BUILTIN_PROVIDERS", PROVIDERS), "embedded", "ollama"]
    if config.provider not in known:
        near = nearest(config.provider, known)
        raise ModelError(
            "SG308",
            f"unknown provider {config.provider!r}",
            hint=f"Did you mean {near!r}?" if near else f"One of: {', '.join(sorted(known))}",
        )


class LangChain:
    """Any provider of `init_chat_model`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._name = config.use
        self._made = lru_cache(maxsize=16)(self._make)
        ready(config)
        self._made(16, 0.0)  # fails early when a package or a key is missing

    async def chat(self, request: ModelRequest) -> ModelResponse:
        model = self._made(request.max_tokens, request.temperature)
        messages = [(each.role, neutralised(encodable(each.content))) for each in request.messages]
        extra: dict[str, Any] = {"stop": list(request.stop)} if request.stop else {}
        if request.logprobs and self._config.provider in GIVES_LOGPROBS:
            extra |= {"logprobs": True, "top_logprobs": min(request.logprobs, 20)}
        try:
            if request.schema is not None:
                titled = {"title": "Answer", "description": "The answer.", **request.schema}
                reply = await model.with_structured_output(titled, include_raw=True).ainvoke(messages, **extra)
                return _answer(reply["raw"], _structured_text(reply["raw"], reply["parsed"]))
            if request.on_token is None:
                reply = await model.ainvoke(messages, **extra)
                return _answer(reply, str(reply.text))
            whole: Any = None
            async for chunk in model.astream(messages, **extra):
                whole = chunk if whole is None else whole + chunk
                if piece := str(chunk.text):
                    request.on_token(piece)
        except ModelError:
            raise
        except Exception as error:
            if completion := getattr(error, "completion", None):
                return _cut_off(completion)
            raise self._explained(error) from error
        if whole is None:
            raise UnusableAnswerError(f"{self._name} returned no answer")
        return _answer(whole, str(whole.text))

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:  # noqa: ARG002
        from langchain.embeddings import init_embeddings

        try:
            embedder: Any = init_embeddings(self._config.model, provider=self._config.provider, **self._address())
            return [unit(vector) for vector in await embedder.aembed_documents([encodable(text) for text in texts])]
        except Exception as error:
            raise self._explained(error) from error

    async def identity(self) -> str:
        return self._name

    async def warm(self) -> None:
        self._made(16, 0.0)

    def _address(self) -> dict[str, Any]:
        return {"base_url": self._config.base_url} if self._config.base_url else {}

    def _make(self, max_tokens: int, temperature: float) -> Any:
        from langchain import chat_models

        library: Any = chat_models  # its types are loose
        settings: dict[str, Any] = {"max_tokens": max_tokens, "timeout": self._config.timeout_s, "max_retries": 0}
        if not FIXED_TEMPERATURE.match(self._config.model):
            settings["temperature"] = temperature
        try:
            if self._config.provider == "openai" and self._config.base_url:
                from sluicegate.models.providers.openai_compatible import OpenAiCompatible

                return OpenAiCompatible(model=self._config.model, **settings, **self._address())
            return library.init_chat_model(
                self._config.model, model_provider=self._config.provider, **settings, **self._address()
            )
        except ImportError as error:
            raise _no_package(self._config, _named(error)) from error
        except Exception as error:
            raise ModelError(
                "SG308",
                f"{self._name} cannot be created: {type(error).__name__}",
                hint="Check its settings and its key",
            ) from error

    def _explained(self, error: Exception) -> ModelError:
        """Providers share no exceptions: their HTTP status decides, else the exception's name."""
        if isinstance(error, ImportError):
            return _no_package(self._config, _named(error))
        status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
        kind = type(error).__name__
        folded = str(error).casefold()
        if status in (401, 403):
            variable = PROVIDERS.get(self._config.provider, ("", "its key"))[1]
            return ModelError("SG308", f"{self._name} refuses the key", hint=f"Check {variable}")
        if status == 404:
            return ModelError("SG302", f"the provider has no model {self._config.model}", hint="Check the model's name")
        if status in (408, 504) or "timeout" in kind.casefold():
            return ModelError("SG303", f"{self._name} timed out", hint="Raise `timeout_s`")
        if isinstance(status, int) and (status == 429 or status >= 500):
            return ModelError("SG304", f"{self._name} is overloaded (HTTP {status})", hint="Try again later")
        if status in (400, 413) and ("context" in folded or "too long" in folded):
            return PromptTooLongError(f"the prompt is too long for {self._name}", hint="Shorten it")
        if "connect" in kind.casefold() or isinstance(error, ConnectionError):
            return UnreachableError(f"{self._name} is unreachable: {kind}", hint="Check the network and `base_url`")
        return UnusableAnswerError(f"{self._name} failed: {kind}" + (f" (HTTP {status})" if status else ""))


def _importable(module: str) -> bool:
    return module in sys.modules or importlib.util.find_spec(module) is not None


def _named(error: ImportError) -> str:
    """The package that LangChain reports as missing."""
    found = re.search(r"pip install ([A-Za-z0-9_.-]*[A-Za-z0-9])", str(error))
    return found[1] if found else str(error.name or "a package")


def _no_package(config: ModelConfig, package: str) -> ModelError:
    return ModelError(
        "SG308", f"{config.use} needs the package {package}", hint=f"Install it: `uv pip install {package}`"
    )


def _structured_text(message: Any, parsed: Any) -> str:
    """A schema is answered in the text, or as the arguments of a tool call, which become JSON text.

    What LangChain makes of the text is not used while there is a text: it completes JSON that was cut off.
    """
    calls: list[Any] = [call["args"] for call in (*message.tool_calls, *message.invalid_tool_calls)]
    if calls:
        return "\n".join(args if isinstance(args, str) else json.dumps(args, ensure_ascii=False) for args in calls)
    text = str(message.text)
    return text if text or parsed is None else json.dumps(parsed, ensure_ascii=False)


def _answer(message: Any, text: str) -> ModelResponse:
    usage: dict[str, Any] = message.usage_metadata or {}
    details: dict[str, Any] = usage.get("input_token_details") or {}
    about: dict[str, Any] = message.response_metadata or {}
    finish = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
    logprobs: dict[str, Any] = about.get("logprobs") or {}
    content: list[dict[str, Any]] = logprobs.get("content") or []
    return ModelResponse(
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
        thinking=_thinking(message),
    )


def _thinking(message: Any) -> str:
    """Where a class of LangChain's has put it: beside the content, or in blocks of it."""
    beside = message.additional_kwargs.get("reasoning_content")
    return beside or "\n\n".join(block["reasoning"] for block in message.content_blocks if block.get("reasoning"))


def _cut_off(completion: Any) -> ModelResponse:
    """OpenAI's client raises its reply where an answer to a schema ran out of tokens, which cost what they cost."""
    usage = completion.usage
    return ModelResponse(
        text=completion.choices[0].message.content or "",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        finish="length",
    )


def _alternatives(entries: Sequence[dict[str, Any]] | None) -> tuple[tuple[str, float], ...]:
    return tuple((entry["token"], entry["logprob"]) for entry in entries or ())
