"""docs/openai.md: its program runs unmodified against a server, and its tables are what there is."""

import re
from typing import Any

import pytest

from sluicegate import principal
from sluicegate.serving.http.callers import FixedCaller
from sluicegate.serving.http.openai.messages import ChatCall, ResponseCall, RunFields
from sluicegate.serving.http.openai.operations import OPENAI
from sluicegate.serving.http.openai.parameters import CHAT, RESPONSES
from tests.support import stand
from tests.support.openai_clients import MODEL
from tests.support.pages import blocks, page, table

PAGE = page("docs/openai.md")


@pytest.mark.slow
def test_the_program_of_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks(PAGE, "python")
    monkeypatch.setenv("TOKEN", "unused")
    with stand.served(callers=FixedCaller(principal("ann", ["employee"]))) as plain:
        there = program.replace("http://localhost:8080", str(plain.base_url).rstrip("/")).replace("helpdesk", MODEL)
        names: dict[str, Any] = {}
        exec(there, names)
        names["client"].close()
    assert capsys.readouterr().out.startswith("Version 1 [1].\n")


def test_every_operation_is_on_the_page() -> None:
    for each in OPENAI:
        assert re.search(rf"`{each.method} {re.escape(each.path)}`", PAGE), each


def test_every_parameter_is_where_the_page_has_it() -> None:
    rows = {re.split(r"[ ,]", cells[0])[0]: names for names, cells in table(PAGE, "parameters").items() if "`" in names}
    named = {fate: {*re.findall(r"`([\w.]+)`", names)} for fate, names in rows.items()}
    assert named["refused"] == {*CHAT.refused, *RESPONSES.refused}
    assert named["ignored"] == CHAT.ignored | RESPONSES.ignored | {"text.verbosity"}
    read = {*ChatCall.model_fields, *ResponseCall.model_fields}
    assert named["read"] == (read - {"stream_options"}) | {"stream_options.include_usage"}


def test_every_field_of_its_own_is_on_the_page() -> None:
    own = {*RunFields.model_fields} - {*RunFields.__mro__[1].model_fields}  # type: ignore[attr-defined]
    assert {name.strip("`") for name in table(PAGE, "field")} == own
