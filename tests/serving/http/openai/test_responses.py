"""Responses as OpenAI's own client calls them, streaming and not, and how one follows another."""

from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from tests.support import stand
from tests.support.openai_clients import MODEL, client, sdk
from tests.support.summarising import ASKED, PATTERN, SUMMARY, summarising


def ask(ai: openai.OpenAI, input: Any = "How?", **more: Any) -> Response:
    return ai.responses.create(model=MODEL, input=input, **more)


def turns(plain: httpx.Client, session: str) -> list[str]:
    return [each["question"] for each in plain.get("/v1/turns", params={"session": session}).json()["turns"]]


def session_of(response: Response) -> str:
    assert response.conversation
    assert response.conversation.id == response.sluicegate["session"]  # type: ignore[attr-defined]
    return response.conversation.id


@pytest.mark.slow
def test_an_answer_is_a_response_and_its_run_is_with_it(ai: openai.OpenAI, plain: httpx.Client) -> None:
    response = ask(ai, metadata={"page": "1"}, max_output_tokens=100)
    assert response.output_text == "Version 1 [1]."
    (message,) = response.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")  # type: ignore[union-attr]
    assert (response.status, response.error, response.model) == ("completed", None, MODEL)
    assert response.metadata == {"page": "1"}
    said: dict[str, Any] = response.sluicegate  # type: ignore[attr-defined]
    assert response.id == f"resp_{said['run']}"
    assert response._request_id == said["run"]
    assert said["ignored"] == ["max_output_tokens"]
    run = plain.get(f"/v1/runs/{said['run']}").json()
    assert response.usage
    assert response.usage.input_tokens == run["prompt_tokens"] > 0
    assert response.usage.output_tokens == run["completion_tokens"]
    assert response.usage.total_tokens == run["prompt_tokens"] + run["completion_tokens"]


@pytest.mark.slow
def test_the_events_of_a_stream_are_those_of_openai(ai: openai.OpenAI) -> None:
    events = [*ask(ai, "access please", stream=True)]  # type: ignore[call-overload]
    assert [event.type for event in events] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == [*range(9)]
    assert events[0].response.status == "in_progress"
    done = events[-1].response
    assert (done.status, done.sluicegate["status"]) == ("completed", "waiting")
    assert done.output_text == events[4].delta == events[5].text
    assert done.id == events[0].response.id


@pytest.mark.slow
def test_the_clients_parser_puts_the_sentences_together() -> None:
    service = stand.service(PATTERN, open_version=summarising)
    with client(service) as ai, ai.responses.stream(model=service.name, input=ASKED) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert deltas[0] == "The queue grew at 08:10."
        assert "".join(deltas) == SUMMARY == stream.get_final_response().output_text


@pytest.mark.slow
def test_a_response_follows_the_one_it_names(ai: openai.OpenAI, plain: httpx.Client) -> None:
    first = ask(ai, "One?")
    second = ask(ai, "Two?", previous_response_id=first.id)
    third = ask(ai, "Three?", previous_response_id=second.id)
    assert second.previous_response_id == first.id
    assert session_of(first) == session_of(second) == session_of(third)
    assert turns(plain, session_of(first)) == ["One?", "Two?", "Three?"]
    # another one after the first does not see what was asked after it
    other = ask(ai, "Another two?", previous_response_id=first.id)
    assert session_of(other) != session_of(first)
    assert turns(plain, session_of(other)) == ["One?", "Another two?"]
    assert turns(plain, session_of(first)) == ["One?", "Two?", "Three?"]
    # and goes on by itself
    ask(ai, "Another three?", previous_response_id=other.id)
    assert turns(plain, session_of(other)) == ["One?", "Another two?", "Another three?"]


@pytest.mark.slow
def test_a_response_of_somebody_else_is_not_found(ai: openai.OpenAI, plain: httpx.Client) -> None:
    mine = ask(ai, "One?")
    for other in (mine.id, f"resp_{'f' * 24}", "nonsense"):
        with sdk(plain, user="ben") as theirs, pytest.raises(openai.BadRequestError) as raised:
            ask(theirs, "Two?", previous_response_id=other)
        assert raised.value.code == "previous_response_not_found"
        assert raised.value.param == "previous_response_id"
    assert turns(plain, session_of(mine)) == ["One?"]


@pytest.mark.slow
def test_a_workflow_without_conversations_has_no_response_to_follow() -> None:
    with client() as ai:
        first = ask(ai)
        assert first.conversation is None
        with pytest.raises(openai.BadRequestError) as raised:
            ask(ai, previous_response_id=first.id)
        assert raised.value.code == "previous_response_not_found"


@pytest.mark.slow
def test_a_conversation_may_be_named(ai: openai.OpenAI, plain: httpx.Client) -> None:
    assert session_of(ask(ai, "One?", conversation="wifi")) == "wifi"
    assert session_of(ask(ai, "Two?", conversation={"id": "wifi"})) == "wifi"
    assert turns(plain, "wifi") == ["One?", "Two?"]
    with pytest.raises(openai.BadRequestError) as raised:
        ask(ai, conversation="wifi", previous_response_id="resp_1")
    assert raised.value.code == "mutually_exclusive_parameters"


@pytest.mark.slow
def test_items_that_are_sent_again_are_its_turns(ai: openai.OpenAI, plain: httpx.Client) -> None:
    first = ask(ai, [{"role": "user", "content": [{"type": "input_text", "text": "One?"}]}])
    items: list[Any] = [{"role": "user", "content": "One?"}, *first.output, {"role": "user", "content": "Two?"}]
    second = ask(ai, items)
    assert session_of(second) == session_of(first)
    assert turns(plain, session_of(first)) == ["One?", "Two?"]


@pytest.mark.slow
def test_a_stream_that_fails_ends_with_the_event_for_it() -> None:
    with client(stand.service(open_version=stand.broken)) as ai:
        events = [*ask(ai, stream=True)]  # type: ignore[call-overload]
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == "server_error"
    assert "words of ann" not in events[-1].model_dump_json()
