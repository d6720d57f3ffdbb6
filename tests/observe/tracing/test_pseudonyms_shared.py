"""People and their words where machines share a server."""

import asyncio
from pathlib import Path

import pytest

from sluicegate.observe.tracing.pseudonyms import Payloads
from sluicegate.services import Hidden
from sluicegate.storage.postgres import server

pytestmark = pytest.mark.slow

EMAIL = {"<EMAIL_1>": Hidden("bob@example.org", "email", "request")}


def test_what_one_machine_keeps_another_finds_and_erases(tmp_path: Path, postgres: str) -> None:
    a, b = (Payloads(tmp_path / name, server(postgres)) for name in "ab")
    ann = a.person("ann")
    asyncio.run(a.hide("r", "ann", EMAIL))
    a.put(ann, run="r", name="request", text="with a zero \0 in it", at="2026-01-01")
    assert b.person("ann") == ann
    assert asyncio.run(b.hidden("r")) == EMAIL
    assert [payload.text for payload in b.of_run("r")] == ["with a zero \ufffd in it"]
    assert b.names() == {ann.pseudonym: "ann"}
    assert b.erase("ann") == (ann.pseudonym, 2)
    assert (asyncio.run(a.hidden("r")), a.of_run("r"), a.names()) == ({}, [], {})
    assert a.person("ann") != ann, "who was erased elsewhere is not remembered here"
    assert not list(tmp_path.iterdir()), "nothing of it is in a file"


def test_what_is_hidden_again_is_replaced_and_forgotten_in_time(tmp_path: Path, postgres: str) -> None:
    payloads = Payloads(tmp_path / "a", server(postgres))
    asyncio.run(payloads.hide("r", "ann", EMAIL))
    asyncio.run(payloads.hide("r", "ann", {"<EMAIL_1>": Hidden("eve@example.org", "email", "output")}))
    assert asyncio.run(payloads.hidden("r"))["<EMAIL_1>"].value == "eve@example.org"
    assert payloads.forget(0.0) == 0
    assert payloads.forget(9e9) == 1
    assert asyncio.run(payloads.hidden("r")) == {}
