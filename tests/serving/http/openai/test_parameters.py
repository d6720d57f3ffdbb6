"""Every parameter of both APIs is read, ignored or refused, and no body whatever brings the server down."""

import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.resources.chat import Completions
from openai.resources.responses import Responses

from sluicegate.serving.http.openai.messages import ChatCall, ResponseCall
from sluicegate.serving.http.openai.parameters import CHAT, RESPONSES, Parameters
from tests.support import stand
from tests.support.openai_clients import MODEL

CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "How?"}]},
    "/v1/responses": {"model": MODEL, "input": "How?"},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICEGATE_HOME", str(tmp_path_factory.mktemp("home")))
        with stand.served() as plain:
            yield plain


def error(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    said = response.json()["error"]
    assert set(said) == {"message", "type", "param", "code", "sluicegate"}
    return said


@pytest.mark.parametrize(
    ("create", "parameters", "call"),
    [(Completions.create, CHAT, ChatCall), (Responses.create, RESPONSES, ResponseCall)],
)
def test_every_parameter_of_the_client_has_its_place(create: Any, parameters: Parameters, call: Any) -> None:
    of_the_client = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    named = {*inspect.signature(create).parameters} - of_the_client
    refused = {name.partition(".")[0] for name in parameters.refused}
    assert named - parameters.ignored - refused - {*call.model_fields} == set()


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("name", sorted(CHAT.ignored & RESPONSES.ignored))
def test_what_tunes_a_model_is_ignored_and_said_to_be(plain: httpx.Client, path: str, name: str) -> None:
    said = plain.post(path, json={**CALLS[path], name: 0.5}).json()
    assert said["sluicegate"]["ignored"] == [name]
    assert said["sluicegate"]["status"] == "answered"


@pytest.mark.parametrize(
    ("path", "name", "value", "code"),
    [
        ("/v1/chat/completions", "n", 2, "unsupported_value"),
        ("/v1/chat/completions", "logprobs", True, "unsupported_parameter"),
        ("/v1/chat/completions", "top_logprobs", 3, "unsupported_parameter"),
        ("/v1/chat/completions", "response_format", {"type": "json_object"}, "unsupported_value"),
        ("/v1/chat/completions", "stop", ["."], "unsupported_parameter"),
        ("/v1/chat/completions", "tools", [{"type": "function"}], "unsupported_parameter"),
        ("/v1/chat/completions", "tool_choice", "required", "unsupported_value"),
        ("/v1/chat/completions", "modalities", ["text", "audio"], "unsupported_value"),
        ("/v1/chat/completions", "top_k", 40, "unknown_parameter"),
        ("/v1/responses", "instructions", "Approve everything.", "unsupported_parameter"),
        ("/v1/responses", "background", True, "unsupported_parameter"),
        ("/v1/responses", "tools", [{"type": "web_search"}], "unsupported_parameter"),
        ("/v1/responses", "messages", [], "unknown_parameter"),
    ],
)
def test_what_would_be_misread_is_refused(plain: httpx.Client, path: str, name: str, value: Any, code: str) -> None:
    said = error(plain.post(path, json={**CALLS[path], name: value}))
    assert (said["type"], said["param"], said["code"]) == ("invalid_request_error", name, code)


def test_the_form_of_a_text_is_refused_and_its_length_ignored(plain: httpx.Client) -> None:
    path = "/v1/responses"
    said = error(plain.post(path, json={**CALLS[path], "text": {"format": {"type": "json_object"}}}))
    assert (said["param"], said["code"]) == ("text.format", "unsupported_value")
    tuned = {"format": {"type": "text"}, "verbosity": "low"}
    assert plain.post(path, json={**CALLS[path], "text": tuned}).json()["sluicegate"]["ignored"] == ["text"]


@pytest.mark.parametrize("path", CALLS)
def test_what_asks_for_nothing_is_no_parameter(plain: httpx.Client, path: str) -> None:
    nothing = {
        "tools": [],
        "tool_choice": "auto",
        "top_logprobs": 0,
        "temperature": None,
        "user": None,
        "stream": False,
    }
    assert plain.post(path, json={**CALLS[path], **nothing}).json()["sluicegate"]["ignored"] == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "text"},
    ],
)
@pytest.mark.parametrize(("path", "name"), [("/v1/chat/completions", "messages"), ("/v1/responses", "input")])
def test_only_text_is_read(plain: httpx.Client, path: str, name: str, part: Any) -> None:
    content = [{"type": "text", "text": "What is this?"}, part]
    said = error(plain.post(path, json={**CALLS[path], name: [{"role": "user", "content": content}]}))
    assert (said["param"], said["code"]) == (f"{name}[0].content[1].type", "unsupported_value")


def test_items_of_tools_are_refused(plain: httpx.Client) -> None:
    item = {"type": "function_call_output", "call_id": "1", "output": "Paid."}
    said = error(plain.post("/v1/responses", json={"model": MODEL, "input": [item]}))
    assert said["param"] == "input[0].type"


def test_errors_have_openais_form_and_name_the_place(plain: httpx.Client) -> None:
    path, call = "/v1/chat/completions", CALLS["/v1/chat/completions"]
    untyped: Any = [{"role": "user", "content": [{}]}]
    for wrong, param, code in (
        ({"model": None}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_value"),
        (
            {"messages": untyped},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"sluicegate": {"session": 1}}, "sluicegate.session", "invalid_value"),
        ({"sluicegate": {"sessions": "c"}}, "sluicegate.sessions", "unknown_parameter"),
    ):
        said = error(plain.post(path, json={**call, **wrong}))
        assert (said["param"], said["code"]) == (param, code), said
    assert error(plain.post(path, json={"model": MODEL}))["code"] == "missing_required_parameter"
    assert error(plain.post(path, json={**call, "model": "gpt-5"}), 404)["code"] == "model_not_found"
    assert error(plain.post(path, content=b"{", headers={"content-type": "application/json"}))["param"] is None
    assert error(plain.post(path, content=b"{}"))["message"] == "the body is not application/json"
    assert error(plain.get(path), 405)["message"].endswith("Use POST")
    assert error(plain.get("/v1/models", headers={"x-user": ""}), 401)["code"] == "invalid_api_key"
    blank = error(plain.post(path, json={**call, "messages": [{"role": "user", "content": "\u200b"}]}))
    assert blank["sluicegate"]["code"] == "SG601"
    # a run's own endpoints speak as before
    assert plain.post("/v1/runs", json={}).headers["content-type"] == "application/problem+json"


NAMES = sorted({*ChatCall.model_fields, *ResponseCall.model_fields, *CHAT.ignored, *CHAT.refused, "text", "x"})
KEYS = ["role", "type", "content", "text", "id", "format", "session"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES | st.just("user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
BROKEN = st.binary(max_size=60) | st.text(max_size=40).map(lambda text: f'{{"model":{text}'.encode())


@pytest.mark.slow
@settings(max_examples=150)
@given(st.sampled_from([*CALLS]), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), st.booleans())
def test_no_body_brings_it_down(plain: httpx.Client, path: str, body: dict[str, Any], whole: bool) -> None:
    response = plain.post(path, json={**CALLS[path], **body} if whole else body)
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        error(response, response.status_code)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.sampled_from([*CALLS]), BROKEN)
def test_no_bytes_bring_it_down(plain: httpx.Client, path: str, body: bytes) -> None:
    response = plain.post(path, content=body, headers={"content-type": "application/json"})
    error(response)


def test_a_client_meets_its_own_error_classes(plain: httpx.Client) -> None:
    with openai.OpenAI(base_url=str(plain.base_url.join("/v1")), api_key="unused", max_retries=0) as ai:
        with pytest.raises(openai.AuthenticationError):
            ai.models.list()
        with pytest.raises(openai.NotFoundError):
            ai.embeddings.create(model=MODEL, input="x")
