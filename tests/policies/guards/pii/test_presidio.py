"""The engine `presidio` of the guard `pii`: what it finds, where, and what it never does."""

import logging
import socket
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sluicegate.errors import ConfigError, PolicyError
from sluicegate.graphs.config import load as loading
from sluicegate.graphs.config.load import load
from sluicegate.policies.guards.checking import Finding, Subject
from sluicegate.policies.guards.config import GuardConfig, PiiSettings
from sluicegate.policies.guards.pii.presidio import PRESIDIO_ENTITIES, presidio
from sluicegate.policies.guards.redaction import restore
from sluicegate.policies.guards.set import GuardSet
from tests.support.redacting import WORKFLOW, Desk

STRUCTURED = tuple(entity for entity in PRESIDIO_ENTITIES if entity not in ("person", "place", "organization"))
Find = Callable[[str], list[Finding]]


@pytest.fixture(scope="module")
def find() -> Find:
    return presidio(STRUCTURED, 0.4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("Write to ann.lee@corp.example.com today.", "ann.lee@corp.example.com", "email"),
        ("Call me: 212-555-0123.", "212-555-0123", "phone"),
        ("card 4111 1111 1111 1111 please", "4111 1111 1111 1111", "credit-card"),
        ("IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00", "iban"),
        ("my social security number is 536-22-8726", "536-22-8726", "ssn"),
        ("my driver license is H12234567", "H12234567", "id-number"),
        ("from 10.1.2.30 again", "10.1.2.30", "ip-address"),
        ("device 00:1A:2B:3C:4D:5E", "00:1A:2B:3C:4D:5E", "mac-address"),
        ("see https://corp.example.com/a", "https://corp.example.com/a", "url"),
        ("born on 1987-03-21", "1987-03-21", "date-time"),
        ("to 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "crypto-wallet"),
        ("Steuer-ID 65929970489", "65929970489", "id-de"),
        ("DNI 12345678Z", "12345678Z", "id-es"),
        ("my PAN is AAAPA1234B", "AAAPA1234B", "id-in"),
        ("RSSMRA85T10A562S", "RSSMRA85T10A562S", "id-it"),
        ("PESEL 44051401359", "44051401359", "id-pl"),
        ("national insurance AA123456A", "AA123456A", "id-uk"),
        ("my ITIN is 911-70-1234", "911-70-1234", "id-us"),
        ("ＩＰ １０.１.２.３０ です", "１０.１.２.３０", "ip-address"),
        ("card 4111\u00a01111\u00a01111\u00a01111", "4111\u00a01111\u00a01111\u00a01111", "credit-card"),
    ],
)
def test_each_kind_is_found_at_its_place_under_our_name(find: Find, text: str, value: str, kind: str) -> None:
    assert (value, kind) in {(text[one.start : one.end], one.label) for one in find(text)}


@pytest.mark.slow
def test_an_ssn_is_a_number_of_the_united_states_where_only_that_is_asked_for() -> None:
    text = "my social security number is 536-22-8726"
    assert {one.label for one in presidio(("id-us",), 0.4)(text)} == {"id-us"}


@pytest.mark.slow
def test_no_finding_lies_within_another(find: Find) -> None:
    text = "Write to ann.lee@corp.example.com."
    assert [(one.start, one.end, one.label) for one in find(text)] == [(9, 33, "email")]


@pytest.mark.slow
def test_words_beside_a_number_count_without_a_model_and_the_threshold_decides() -> None:
    number = "H12234567"
    assert presidio(("id-number",), 0.4)(f"Tell me about {number}.") == []
    assert presidio(("id-number",), 0.2)(f"Tell me about {number}.")
    assert presidio(("id-number",), 0.4)(f"Tell me about my driver license {number}.")


@pytest.mark.slow
async def test_redaction_and_restoration_are_those_of_the_other_engine() -> None:
    text = "I am ann.lee@corp.example.com, card 4111\u00a01111 1111 1111; again ann.lee@corp.example.com."
    result: dict[str, Any] = {}
    for engine in ("patterns", "presidio"):
        guards = GuardSet(GuardConfig.model_validate({"pii": {"engine": engine, "timeout_ms": 60_000}}))
        inspection = await guards.inspect(["pii"], Subject(text, "request"))
        result[engine] = (inspection.report.text, inspection.mapping, inspection.report.results[0]["action"])
        assert restore(inspection.report.text, inspection.mapping) == text
    assert result["presidio"] == result["patterns"]
    assert result["presidio"][0] == "I am <EMAIL_1>, card <CREDIT_CARD_1>; again <EMAIL_1>."


@pytest.mark.slow
async def test_what_is_allowed_is_allowed() -> None:
    settings: Mapping[str, Any] = {"engine": "presidio", "allow": ["desk@corp.example.com"], "timeout_ms": 60_000}
    guards = GuardSet(GuardConfig.model_validate({"pii": settings}))
    report = await guards.check(["pii"], "Write to Desk@corp.example.com.", stage="request")
    assert report.results[0]["passed"]


@pytest.mark.slow
def test_nothing_is_downloaded_and_nothing_of_the_text_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[object] = []

    def refuse(self: object, address: object) -> None:
        asked.append(address)
        raise OSError("blocked")

    def resolve(host: object, *rest: object, **named: object) -> None:
        asked.append(host)
        raise OSError("blocked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    caplog.set_level(logging.DEBUG)
    found = presidio(STRUCTURED, 0.4)("my zebra driver license is H12234567, mail quagga@corp.example.co.uk")
    assert {one.label for one in found} == {"id-number", "email"}
    assert asked == []
    assert not [
        record for record in caplog.records if "zebra" in record.getMessage() or "quagga" in record.getMessage()
    ]


def test_what_it_does_not_know_is_refused_with_the_other_engine_named() -> None:
    with pytest.raises(ValidationError, match="does not detect zip-code, id-fr; the engine patterns does"):
        PiiSettings.model_validate({"engine": "presidio", "entities": ["email", "zip-code", "id-fr"]})
    with pytest.raises(ValidationError, match="score_threshold is the engine presidio's"):
        PiiSettings.model_validate({"score_threshold": 0.5})
    with pytest.raises(ValidationError, match="person can only be found with `model`"):
        PiiSettings.model_validate({"engine": "presidio", "entities": ["person"]})
    assert set(PiiSettings().entities) <= set(PRESIDIO_ENTITIES)


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(PolicyError, match="needs the package presidio_analyzer") as caught:
        presidio(("email",), 0.4)
    assert caught.value.code == "SG203"
    assert caught.value.hint == "Install it: pip install 'sluicegate[presidio]'"


def written(desk: Desk, guards: str) -> Path:
    """The file of the workflow, with these settings of its guards."""
    lines = [line for line in WORKFLOW.splitlines() if not line.startswith("guards:")]
    desk.file.write_text("\n".join([*lines, f"guards: {guards}"]), encoding="utf-8")
    return desk.file


def test_the_digest_covers_the_engine_and_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch)
    patterns = load(written(desk, "{pii: {engine: patterns}}"))
    plain = load(written(desk, "{pii: {action: redact}}"))
    ours = load(written(desk, "{pii: {engine: presidio}}"))
    assert plain.digest == patterns.digest != ours.digest
    assert [one.name for one in ours.resolved.inputs if one.kind == "package"] == ["engine presidio"]

    def version(name: str) -> str:
        return "3.0.0"

    monkeypatch.setattr(loading, "version", version)
    newer = load(written(desk, "{pii: {engine: presidio}}"))
    assert ours.digest != newer.digest
    assert newer.resolved.packages == {"engine presidio": "presidio-analyzer 3.0.0"}


def test_a_missing_extra_is_named_when_the_workflow_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    desk = Desk(tmp_path, monkeypatch)
    monkeypatch.setattr(loading, "version", absent)
    with pytest.raises(ConfigError) as caught:
        load(written(desk, "{pii: {engine: presidio}}"))
    (problem,) = caught.value.problems
    assert (problem.code, problem.hint) == ("SG129", "Install it: pip install 'sluicegate[presidio]'")
    lines = desk.file.read_text(encoding="utf-8").splitlines()
    assert problem.place is not None
    assert lines[problem.place.line - 1] == "guards: {pii: {engine: presidio}}"
    assert load(written(desk, "{pii: {engine: patterns}}")).resolved.packages == {}
