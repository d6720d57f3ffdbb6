"""Chat Completions as OpenAI's own client calls them, streaming and not."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from sluicegate import Limits
from sluicegate.policies.kill_switch import KillSwitch
from tests.support import stand
from tests.support.openai_clients import MODEL, client, sdk
from tests.support.summarising import ASKED, PATTERN, SENT, SUMMARY, summarising
from tests.support.waiting import until


@pytest.fixture
def plain() -> Iterator[httpx.Client]:
    with stand.served() as plain:
        yield plain


def ask(ai: openai.OpenAI, text: str = "How do I reset it?", **more: Any) -> ChatCompletion:
    return ai.chat.completions.create(**{"model": MODEL, "messages": [{"role": "user", "content": text}], **more})


def run_of(completion: Any) -> dict[str, Any]:
    return completion.sluicegate


def test_the_workflow_is_the_model(ai: openai.OpenAI, plain: httpx.Client) -> None:
    (model,) = ai.models.list()
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "sluicegate")
    assert ai.models.retrieve(MODEL) == model
    about: Any = model
    assert about.sluicegate["digest"] == plain.get("/readyz").json()["workflows"][0]["digest"]
    with pytest.raises(openai.NotFoundError) as raised:
        ai.models.retrieve("gpt-5")
    assert raised.value.code == "model_not_found"


@pytest.mark.slow
def test_an_answer_is_a_completion_and_its_run_is_with_it(ai: openai.OpenAI, plain: httpx.Client) -> None:
    completion = ask(ai)
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Version 1 [1].")
    assert (choice.message.refusal, choice.finish_reason, choice.index) == (None, "stop", 0)
    assert (completion.model, completion.object) == (MODEL, "chat.completion")
    said = run_of(completion)
    run = plain.get(f"/v1/runs/{said['run']}").json()
    assert {**said, "ms": 0} == {**run, "ms": 0, "session": "", "ignored": [], "replaced": ""}
    assert said["citations"] == [{"marker": "[1]", "document": "kb-1", "version": "2", "title": "Passwords"}]
    usage = completion.usage
    assert usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (run["prompt_tokens"], run["completion_tokens"])
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert completion.id == f"chatcmpl-{said['run']}"
    assert completion._request_id == said["run"]


@pytest.mark.slow
def test_what_a_person_decides_is_an_ordinary_message(ai: openai.OpenAI, plain: httpx.Client) -> None:
    completion = ask(ai, "access please")
    said, (choice,) = run_of(completion), completion.choices
    assert (said["status"], said["path"], said["answer"]) == ("waiting", "human", "")
    assert said["approval"]["id"] == said["run"]
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert "A person decides" in choice.message.content
    assert said["run"] in choice.message.content
    assert "Opened T-1" not in completion.model_dump_json(), "the draft is shown to nobody before"
    lead = {"x-user": "lea", "x-roles": "helpdesk-lead"}
    assert plain.post(f"/v1/approvals/{said['run']}", json={"verdict": "approve"}, headers=lead).status_code == 200
    assert plain.get(f"/v1/runs/{said['run']}").json()["answer"] == "Opened T-1."


@pytest.mark.slow
def test_a_refusal_is_an_ordinary_message(ai: openai.OpenAI) -> None:
    KillSwitch().off(f"workflow:{MODEL}", reason="an incident", by="ops")
    completion = ask(ai)
    said, (choice,) = run_of(completion), completion.choices
    assert (said["status"], said["path"]) == ("refused", "refused")
    assert choice.message.content == said["reason"]
    assert "switched off at the moment" in said["reason"]
    assert choice.finish_reason == "stop"


@pytest.mark.slow
def test_what_takes_long_is_an_ordinary_message_too() -> None:
    with client(stand.service(limits=Limits(timeout_s=0.2))) as ai:
        completion = ask(ai, "hold", extra_headers={"idempotency-key": "long"})
        assert run_of(completion)["status"] == "running"
        assert run_of(completion)["run"] in str(completion.choices[0].message.content)
        stand.let_go()

        def again() -> str:
            return run_of(ask(ai, "hold", extra_headers={"idempotency-key": "long"}))["status"]

        # the same key asks for the same run
        until(lambda: again() == "answered")


@pytest.mark.slow
def test_a_stream_of_what_is_checked_as_a_whole_has_one_piece(ai: openai.OpenAI) -> None:
    chunks = [*ask(ai, stream=True)]  # type: ignore[call-overload]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Version 1 [1].", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{run_of(chunks[-1])['run']}"}
    assert run_of(chunks[-1])["citations"]
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


@pytest.mark.slow
def test_a_stream_has_the_usage_where_it_is_asked_for(ai: openai.OpenAI) -> None:
    chunks = [*ask(ai, stream=True, stream_options={"include_usage": True})]  # type: ignore[call-overload]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 15)


@pytest.mark.slow
def test_sentences_are_streamed_once_they_have_passed_their_checks() -> None:
    service = stand.service(PATTERN, open_version=summarising)
    with client(service) as ai:
        asked: Any = {"model": service.name, "messages": [{"role": "user", "content": ASKED}]}
        pieces = [chunk.choices[0].delta.content or "" for chunk in ai.chat.completions.create(**asked, stream=True)]
        assert pieces[1] == "The queue grew at 08:10."
        assert "".join(pieces) == SUMMARY
        assert SENT in "".join(pieces[:-2])
        with ai.chat.completions.stream(**asked) as stream:
            for _ in stream:
                pass
            # the client's own parser puts the same together
            assert stream.get_final_completion().choices[0].message.content == SUMMARY


@pytest.mark.slow
def test_what_was_sent_before_a_check_failed_is_followed_by_what_is_said_in_its_place() -> None:
    def failing(source: Any) -> Any:
        return summarising(source, answer="All is well. You are an idiot. That is all. Good luck with it.")

    service = stand.service(PATTERN, open_version=failing)
    with client(service) as ai:
        chunks = [*ask(ai, ASKED, model=service.name, stream=True)]  # type: ignore[call-overload]
    said = run_of(chunks[-1])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (said["status"], said["replaced"]) == ("refused", "All is well.")
    assert text == f"All is well.\n\n{said['reason']}"
    assert "idiot" not in text


@pytest.mark.slow
def test_a_stream_that_fails_raises_in_the_client() -> None:
    with client(stand.service(open_version=stand.broken)) as ai:
        with pytest.raises(openai.APIError) as raised:
            [*ask(ai, stream=True)]  # type: ignore[call-overload]
        assert raised.value.body["sluicegate"]["code"] == "SG611"  # type: ignore[index]
        assert "words of ann" not in str(raised.value.body)
        with pytest.raises(openai.InternalServerError) as whole:
            ask(ai)
        assert whole.value.body["sluicegate"]["run"]  # type: ignore[index]
        # the run is there and may be looked at; to repeat the call would begin another one
        assert whole.value.response.headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_no_parser_stumbles_over_what_keeps_a_stream_alive(
    ai: openai.OpenAI, plain: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.serving.http.events._ALIVE_S", 0.01)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hold"}], "stream": True}
    with plain.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        assert ": alive" in lines
        stand.let_go()
        assert [*lines][-2:] == ["data: [DONE]", ""]
    chunks = [*ask(ai, "wait 0.2", stream=True)]  # type: ignore[call-overload]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Version 1 [1].", None]
    events = [*ai.responses.create(model=MODEL, input="wait 0.2", stream=True)]
    assert events[-1].type == "response.completed"


@pytest.mark.slow
def test_a_retry_with_the_same_key_is_the_same_run(ai: openai.OpenAI) -> None:
    key = {"idempotency-key": "page-1"}
    first, again = ask(ai, extra_headers=key), ask(ai, extra_headers=key)
    assert first.id == again.id
    assert first.usage == again.usage
    with pytest.raises(openai.ConflictError) as raised:
        ask(ai, "Something else?", extra_headers=key)
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert ask(ai, extra_headers={**key, "x-user": "ben"}).id != first.id
    with pytest.raises(openai.BadRequestError):
        ask(ai, extra_headers={"idempotency-key": "k" * 201})


@pytest.mark.slow
def test_who_has_too_many_is_turned_away_as_openai_does_it() -> None:
    with (
        stand.served(stand.service(limits=Limits(per_principal=1))) as plain,
        sdk(plain) as ai,
        ask(ai, "hold", stream=True) as holding,  # type: ignore[attr-defined]
    ):
        next(iter(holding))
        with pytest.raises(openai.RateLimitError) as raised:
            ask(ai)
        assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "requests")
        assert raised.value.response.headers["retry-after"] == "1"
        assert "x-should-retry" not in raised.value.response.headers
        stand.let_go()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in holding) == "Version 1 [1]."


@pytest.mark.slow
async def test_the_asynchronous_client(plain: httpx.Client) -> None:
    headers = {"x-user": "ann", "x-roles": "employee"}
    url = str(plain.base_url.join("/v1"))
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", default_headers=headers, max_retries=0) as ai:
        stream = await ai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "How?"}], stream=True
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["", "Version 1 [1].", None]


@pytest.mark.slow
def test_what_open_webui_sends(plain: httpx.Client) -> None:
    """The list of models by GET with a bearer token, then streams with usage, and parts that carry a cache mark."""
    listed = plain.get("/v1/models", headers={"authorization": "Bearer unused"}).json()
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == [MODEL]
    body = {
        "stream": True,
        "model": MODEL,
        "messages": [
            {"role": "user", "content": "How?"},
            {"role": "assistant", "content": "Version 1 [1]."},
            {"role": "user", "content": [{"type": "text", "text": "And now?", "cache_control": {"type": "ephemeral"}}]},
        ],
        "stream_options": {"include_usage": True},
        "temperature": 0.8,
        "max_tokens": 1000,
        "metadata": {"task": "title_generation"},
    }
    with plain.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert '"ignored": ["temperature", "max_tokens", "metadata"]' in lines[-3]
