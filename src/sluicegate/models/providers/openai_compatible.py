"""Servers that speak OpenAI's Chat Completions and give thinking a field of its own, as vLLM, SGLang and llama.cpp do.

LangChain's class for OpenAI drops what OpenAI itself does not send.
"""

from typing import Any

from langchain_openai import ChatOpenAI

__all__ = ["OpenAiCompatible"]


class OpenAiCompatible(ChatOpenAI):
    """Keeps `reasoning_content`, or `reasoning`, where LangChain looks for it."""

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> Any:
        result = super()._create_chat_result(response, generation_info)
        reply: Any = response.model_dump() if hasattr(response, "model_dump") else response
        for generation, choice in zip(result.generations, reply["choices"], strict=True):
            _keep(generation.message, choice["message"])
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: Any, base_generation_info: dict[str, Any] | None
    ) -> Any:
        made = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if made and chunk.get("choices"):
            _keep(made.message, chunk["choices"][0].get("delta") or {})
        return made


def _keep(message: Any, sent: dict[str, Any]) -> None:
    if thought := sent.get("reasoning_content") or sent.get("reasoning"):
        message.additional_kwargs["reasoning_content"] = thought
