"""LangChain's `ChatOpenAI` over both APIs: whole, streaming, with a history, and in a graph's way of asking."""

from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from sluicegate.graphs.session.checkpoint_reader import recorded
from tests.support import stand
from tests.support.openai_clients import langchain
from tests.support.summarising import ASKED, PATTERN, SUMMARY, summarising


def run_of(message: BaseMessage) -> str:
    """The run, from the id that both APIs give a message."""
    return str(message.response_metadata["id"]).replace("chatcmpl-", "").replace("resp_", "")


@pytest.mark.slow
@pytest.mark.parametrize("responses", [False, True])
def test_a_model_is_invoked_with_a_history(plain: httpx.Client, responses: bool) -> None:
    chat = langchain(plain, use_responses_api=responses, temperature=0)
    history: list[BaseMessage] = [HumanMessage("One?")]
    history.append(chat.invoke(history))
    assert history[-1].text == "Version 1 [1]."
    history.append(HumanMessage("Two?"))
    answer = chat.invoke(history)
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata
    run = plain.get(f"/v1/runs/{run_of(answer)}").json()
    assert answer.usage_metadata["input_tokens"] == run["prompt_tokens"]
    assert answer.usage_metadata["output_tokens"] == run["completion_tokens"]
    turns = recorded(run_of(answer))["conversation"]["turns"]
    assert [turn["question"] for turn in turns] == ["One?"]


@pytest.mark.slow
@pytest.mark.parametrize("responses", [False, True])
async def test_a_stream_is_put_together(responses: bool) -> None:
    service = stand.service(PATTERN, open_version=summarising)
    with stand.served(service) as plain:
        chat = langchain(
            plain, model=service.name, use_responses_api=responses, stream_usage=True, include_response_headers=True
        )
        chunks: list[Any] = [chunk async for chunk in chat.astream(ASKED)]
        whole = sum(chunks[1:], start=chunks[0])
        assert whole.text == SUMMARY
        assert len([chunk for chunk in chunks if chunk.text]) > 2
        run = plain.get(f"/v1/runs/{whole.response_metadata['headers']['x-request-id']}").json()
        assert whole.usage_metadata["total_tokens"] == run["prompt_tokens"] + run["completion_tokens"]


@pytest.mark.slow
def test_a_response_may_follow_the_last_one(plain: httpx.Client) -> None:
    chat = langchain(plain, use_responses_api=True, use_previous_response_id=True)
    history: list[BaseMessage] = [HumanMessage("One?")]
    history += [chat.invoke(history), HumanMessage("Two?")]
    answer = chat.invoke(history)
    turns = recorded(run_of(answer))["conversation"]["turns"]
    assert [turn["question"] for turn in turns] == ["One?"]


@pytest.mark.slow
def test_what_waits_and_who_asks_again(plain: httpx.Client) -> None:
    chat = langchain(plain, include_response_headers=True)
    answer = chat.invoke("access please", extra_headers={"idempotency-key": "share-1"})
    assert "A person decides" in answer.text
    run = answer.response_metadata["headers"]["x-request-id"]
    assert plain.get(f"/v1/runs/{run}").json()["status"] == "waiting"
    again = chat.invoke("access please", extra_headers={"idempotency-key": "share-1"})
    assert run_of(again) == run


@pytest.mark.slow
def test_tools_are_refused_and_not_forgotten(plain: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {}}}}
    with pytest.raises(openai.BadRequestError) as raised:
        langchain(plain).bind_tools([tool]).invoke("Pay it.")
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "tools")
