"""What stands around a name, and the figures of the pinned model with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.embedded import weights
from sluicegate.policies.guards.pii.naming import block_lines, recased, weighed
from tests.support import SHARED_DATA as DATA

pytestmark = pytest.mark.slow

MODEL = "en-core-web-md"
HERE = Path(__file__).parents[1]


def kind_of(text: str, name: str, believed: str = "organization") -> str:
    start = text.index(name)
    weights = weighed(text, start, start + len(name), {believed: 0.9})
    return max(weights, key=lambda kind: weights[kind])


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("Mrs. Quist called.", "Quist", "person"),
        ("my wife Oddny is ill", "Oddny", "person"),
        ("Oddny's birthday is today", "Oddny", "person"),
        ("signed by\nRegards,\nOddny Quist", "Oddny Quist", "person"),
        ("call Oddny B. Quist", "Oddny B. Quist", "person"),
        ("we flew to Tarsk on Monday", "Tarsk", "place"),
        ("based in Tarsk", "Tarsk", "place"),
        ("the town of Tarsk", "Tarsk", "place"),
        ("Elm Row 12, Tarsk", "Tarsk", "place"),
        ("we bought it in Tarsk Systems", "Tarsk Systems", "organization"),
        ("Tarsk makes bolts", "Tarsk", "organization"),
    ],
)
def test_the_words_around_a_name_say_what_it_is(text: str, name: str, kind: str) -> None:
    assert kind_of(text, name) == kind


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Met ODDNY in ÅSTAD, IT says", "Met Oddny in Åstad, IT says"),
        ("> Oddny Quist\n> Tarsk", "  Oddny Quist\n  Tarsk"),
        ("please ask oddny", "please Ask Oddny"),
        ("STOP IT NOW", "STOP IT NOW"),
        # one letter would become two
        ("a STRASSE and ŉABC", "a Strasse and ŉABC"),
    ],
)
def test_a_text_is_read_as_the_model_likes_it_and_keeps_its_length(text: str, read: str) -> None:
    assert recased(text) == read
    assert len(read) == len(text)


def test_lines_between_house_and_code_are_places() -> None:
    text = "Oddny Quist\n12 Elm Row\nApt. 4\nTarsk\n\nOstmark 8812\nCall 8812 first"
    assert [text[start:end] for start, end in block_lines(text)] == ["Tarsk", "Ostmark"]
    assert block_lines("Version 12\nnothing else\nto see here") == []


def _figures(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("spacy")
    try:
        weights.ensure(MODEL)
    except ModelError as error:
        pytest.skip(f"the model cannot be fetched: {error}")
    from typer.testing import CliRunner

    from sluicegate.cli.guard import app

    monkeypatch.setenv("SLUICEGATE_HOME", str(home))
    options = ["--data", str(file), "--json", "--settings", json.dumps({"model": MODEL})]
    result = CliRunner().invoke(app, ["eval", "pii", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_and_places_on_the_development_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = DATA / "guards" / "pii_dev.jsonl.gz"
    if not file.exists():
        pytest.skip(f"the development data are absent: {file}")
    figures = _figures(file, tmp_path, monkeypatch)
    for name in ("person", "place"):
        assert figures["entities"][name]["recall"] >= 0.80
        assert figures["entities"][name]["precision"] >= 0.75
    assert figures["recall"] >= 0.97
    assert figures["precision"] >= 0.95
    assert {"person", "place", "organization"} <= set(figures["covered"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_and_places_in_requests_written_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written when the method was done, and not looked at since."""
    figures = _figures(HERE / "names_cases.jsonl", tmp_path, monkeypatch)
    for name in ("person", "place"):
        assert figures["entities"][name]["recall"] >= 0.80
        assert figures["entities"][name]["precision"] >= 0.90
