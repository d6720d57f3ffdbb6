"""OpenAI's client and LangChain's, as they are installed, of a server on the loopback address."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
from langchain_openai import ChatOpenAI

from sluicegate import Service
from sluicegate.serving.http.callers import Callers
from tests.support import stand

__all__ = ["MODEL", "client", "conversational", "langchain", "sdk"]

MODEL = "shadow-evaluation"
"""The name of the workflow that `stand` serves."""


def conversational(folder: Path) -> Path:
    """That workflow with conversations, in a folder of its own."""
    shutil.copytree(stand.WORKFLOW, folder)
    file = folder / "workflow.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "conversation: {turns: 4}\n", encoding="utf-8")
    return file


@contextmanager
def client(
    service: Service | None = None, callers: Callers = stand.GATEWAY, key: str = "unused"
) -> Iterator[openai.OpenAI]:
    """OpenAI's client of a server that serves while the block lasts, as ann."""
    with stand.served(service, callers) as plain, sdk(plain, key) as found:
        yield found


def sdk(plain: httpx.Client, key: str = "unused", user: str = "ann", retries: int = 0) -> openai.OpenAI:
    headers = {"x-user": user, "x-roles": "employee"}
    return openai.OpenAI(base_url=_url(plain), api_key=key, default_headers=headers, max_retries=retries)


def langchain(plain: httpx.Client, **options: Any) -> ChatOpenAI:
    headers = {"x-user": "ann", "x-roles": "employee"}
    options = {"model": MODEL, "max_retries": 0, **options}
    return ChatOpenAI(base_url=_url(plain), api_key="unused", default_headers=headers, **options)  # type: ignore[arg-type]


def _url(plain: httpx.Client) -> str:
    return str(plain.base_url.join("/v1"))
