"""Each guard on texts that it must fail and texts that it must leave alone."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import Finding, Helpers, Subject, Verdict
from sluicegate.policies.guards.detectors.citations import markers
from sluicegate.policies.guards.measure import load_rows, measure
from sluicegate.policies.guards.pii import names
from sluicegate.policies.guards.registry import guards
from sluicegate.segmentation import sentences

HERE = Path(__file__).parents[1]


def run(guard: str, text: str, *, sources: tuple[str, ...] = (), question: str = "", **settings: Any) -> Verdict:
    kind = guards()[guard]
    check = kind.make(kind.settings.model_validate(settings), Helpers())

    async def checked() -> Verdict:
        verdict = check(Subject(text, "output", question, sources))
        return verdict if isinstance(verdict, Verdict) else await verdict

    return asyncio.run(checked())


def found(guard: str, text: str, **settings: Any) -> list[tuple[str, str]]:
    return [(finding.label, text[finding.start : finding.end]) for finding in run(guard, text, **settings).findings]


@pytest.mark.parametrize("guard", ["grounded", "secrets", "tone"])
def test_labelled_cases(guard: str) -> None:
    kind = guards()[guard]
    figures = measure(kind.make(kind.settings(), Helpers()), load_rows(HERE / f"{guard}_cases.jsonl", stage="output"))
    assert figures["recall"] >= 0.95
    assert figures["false_positive_rate"] <= 0.05


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to bob.o'neil+it@mail.example.co.uk.", [("email", "bob.o'neil+it@mail.example.co.uk")]),
        ("card 4111 1111 1111 1111 please", [("credit-card", "4111 1111 1111 1111")]),
        ("card 4111 1111 1111 1112 please", []),
        ("IBAN DE89 3704 0044 0532 0130 00 is ours", [("iban", "DE89 3704 0044 0532 0130 00")]),
        ("IBAN DE89 3704 0044 0532 0130 01 is ours", []),
        ("SSN 123-45-6789", [("ssn", "123-45-6789")]),
        ("SSN 000-45-6789", []),
        ("call +41 (0)44 555 01 23 now", [("phone", "+41 (0)44 555 01 23")]),
        ("call (212) 555-0123 x45", [("phone", "(212) 555-0123 x45")]),
        ("on 2024-05-17 at 12:30, ticket 20240517", []),
        ("order 1234567890 of 3.500.000 units, INC0012345", []),
        ("host 10.1.2.3 and 2001:db8::1", [("ip-address", "10.1.2.3"), ("ip-address", "2001:db8::1")]),
        ("version 10.1.2.3 is out", []),
        ("my passport number is X1234567", [("id-number", "X1234567")]),
        ("passport control opens at eight", []),
        ("send it to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", [("crypto-wallet", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2")]),
        ("nothing personal here", []),
    ],
)
def test_pii_by_default(text: str, expected: list[tuple[str, str]]) -> None:
    assert found("pii", text) == expected


@pytest.mark.parametrize(
    ("entity", "text", "expected"),
    [
        ("date-time", "born on 3 May 1990, met on Sunday at 14:05", ["3 May 1990", "Sunday", "14:05"]),
        ("date-time", "founded in 1973 with 1973 users", ["1973"]),
        ("date-time", "the may fair and 1.2.3", []),
        ("zip-code", "zip code 90210, Boston, MA 02134 or SW1A 2AA", ["90210", "02134", "SW1A 2AA"]),
        ("zip-code", "we sold 90210 units", []),
        ("age", "a 42-year-old and a girl aged 7.", ["42", "7"]),
        ("url", "see https://example.org/a?b=1, or www.example.com.", ["https://example.org/a?b=1", "www.example.com"]),
        ("url", "open main.py and README.md", []),
        (
            "street-address",
            "at 742 Evergreen Terrace, Bahnhofstrasse 12",
            ["742 Evergreen Terrace", "Bahnhofstrasse 12"],
        ),
        ("mac-address", "nic 00:1A:2b:3c:4d:5e", ["00:1A:2b:3c:4d:5e"]),
    ],
)
def test_pii_of_chosen_types(entity: str, text: str, expected: list[str]) -> None:
    assert [value for _, value in found("pii", text, entities=[entity])] == expected


def test_pii_spares_what_is_allowed_or_stands_in_a_source() -> None:
    text = "Mail desk@example.org or bob@example.org"
    assert found("pii", text, allow=["DESK@example.org"]) == [("email", "bob@example.org")]
    verdict = run("pii", text, sources=("Our address is desk@example.org",), allow_from_sources=True)
    assert [text[f.start : f.end] for f in verdict.findings] == ["bob@example.org"]


def test_pii_reason_counts_and_does_not_quote() -> None:
    assert run("pii", "bob@example.org, eve@example.org, 10.1.2.3").reason == "found 2 email, 1 ip-address"


@pytest.mark.slow
def test_names_need_an_installed_model() -> None:
    with pytest.raises(PolicyError, match="'no_such_model' is not installed"):
        run("pii", "Ada", entities=["person"], model="no_such_model")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_are_found_by_a_model(tmp_path: Path) -> None:
    import spacy

    pipeline: Any = spacy.blank("en")
    rules = [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}]
    pipeline.add_pipe("entity_ruler").add_patterns(rules)
    pipeline.to_disk(tmp_path / "tiny")
    text = "Ada Lovelace of London, ada@example.org"
    settings: Any = {"entities": ["person", "place", "email"], "model": str(tmp_path / "tiny")}
    expected = [("person", "Ada Lovelace"), ("place", "London"), ("email", "ada@example.org")]
    assert found("pii", text, **settings) == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_for_another_spacy_is_refused(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "old")
    meta = json.loads((tmp_path / "old" / "meta.json").read_text())
    (tmp_path / "old" / "meta.json").write_text(json.dumps({**meta, "spacy_version": ">=2.0,<2.1"}))
    with pytest.warns(UserWarning, match="W095"), pytest.raises(PolicyError, match=r"is for spaCy >=2.0,<2.1"):
        run("pii", "Ada", entities=["person"], model=str(tmp_path / "old"))


def test_a_name_beside_a_pattern_is_cut_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(_model: str) -> Any:
        return lambda text, _entities: [Finding(0, len(text), "person")]

    monkeypatch.setattr(names, "named_entities", whole)
    text = "Ada Lovelace ada@example.org"
    assert found("pii", text, entities=["person", "email"], model="any") == [
        ("person", "Ada Lovelace "),
        ("email", "ada@example.org"),
    ]


def test_secrets_names_the_kind_and_only_the_value() -> None:
    text = "url postgres://app:p4ssw0rd@db/x and DB_PASSWORD='s3cr3t!'"
    assert found("secrets", text) == [("connection-string", "p4ssw0rd"), ("password", "s3cr3t!")]
    assert run("secrets", text).reason == "found 2: connection-string, password"
    assert found("secrets", text, allow=["s3cr3t!"]) == [("connection-string", "p4ssw0rd")]


def test_markers() -> None:
    assert markers("a [1], b [2, 4] c [5-7] d [x] e [3](https://example.org)") == [1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "sources", "reason"),
    [
        ("So it is [1].", ("a",), ""),
        ("So it is [2].", ("a",), "cites [2], but 1 passages were given"),
        ("So it is [0][1-3].", ("a",), "cites [0], [2], [3], but 1 passages were given"),
        ("So it is.", ("a",), "cites no passage"),
        ("I could not find that.", ("a",), ""),
        ("So it is.", (), ""),
        ("So it is [1].", (), "cites [1], but 0 passages were given"),
    ],
)
def test_citations(text: str, sources: tuple[str, ...], reason: str) -> None:
    verdict = run("citations", text, sources=sources)
    assert verdict.reason == reason
    assert verdict.passed == (not reason)


def test_grounded_says_which_sentence_and_why_without_quoting() -> None:
    source = "The link is valid for 24 hours. Ask the desk for help."
    verdict = run("grounded", "Ask the desk for help. The link is valid for 48 hours.", sources=(source,))
    assert verdict.reason == "1 unsupported, sentence 2: a number that is in no passage"
    assert run("grounded", "Anything at all.", sources=()).reason == "no supporting passages"
    assert run("grounded", "Zebras fly.", sources=(source,), unsupported=1).passed


def test_sentences() -> None:
    text = "Use e.g. the portal. [1] Then:\n- open it\n2. wait 1.5 hours! Done?"
    assert sentences(text) == ["Use e.g. the portal. [1]", "Then:", "open it", "wait 1.5 hours!", "Done?"]


@pytest.mark.parametrize("text", ["Acme", "a-c-m-e", "ＡＣＭＥ", "асmе", "the a\u200bcme thing", "A.C.M.E is here"])
def test_banned_words_in_disguise(text: str) -> None:
    assert not run("banned", text, words=["acme"]).passed


def test_banned_leaves_other_words_and_points_at_the_right_place() -> None:
    assert run("banned", "acmeist macme ac me", words=["acme"]).passed
    assert found("banned", "the ＡＣＭＥ plan", words=["acme"]) == [("banned", "ＡＣＭＥ")]
    assert found("banned", "project X-42", patterns=[r"x-\d+"]) == [("banned", "X-42")]


def test_a_banned_pattern_that_never_ends_is_stopped() -> None:
    with pytest.raises(TimeoutError):
        run("banned", "a" * 60 + "!", patterns=[r"(a|aa)+$"], timeout_ms=50)


def test_a_banned_pattern_must_compile() -> None:
    with pytest.raises(PolicyError, match="not a regular expression"):
        run("banned", "x", patterns=["("])


def test_length() -> None:
    assert run("length", " ", min_chars=1).reason == "0 characters, fewer than 1"
    assert run("length", "abcdef", max_chars=5).reason == "6 characters, more than 5"
    assert run("length", "One. Two. Three.", max_sentences=2).reason == "3 sentences, more than 2"
    assert run("length", "One. Two.", max_sentences=2).passed


def test_a_text_that_says_one_sentence_over_and_over() -> None:
    looped = "The mail was late [1].\n\n" + "\n".join(f"[{n}] The report is about the mail." for n in range(2, 6))
    assert run("length", looped, max_repeats=2).reason == "one sentence 4 times, more than 2"
    assert run("length", looped).passed
    assert run("length", looped, max_repeats=4).passed
    assert run("length", "Yes. Yes. Yes. It is open, it is open.", max_repeats=2).passed


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"n": 1}', ""),
        ('{"n": "zebra"}', "$.n breaks 'type'"),
        ('{"n": 1, "zebra": 2}', "$ breaks 'additionalProperties'"),
        ("[1", "not JSON"),
        ('{"n": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_schema(text: str, reason: str) -> None:
    assert run("schema", text, schema=SCHEMA).reason == reason


def test_a_schema_reference_to_elsewhere_is_not_fetched() -> None:
    with pytest.raises(Exception, match="Unresolvable"):
        run("schema", "{}", schema={"$ref": "https://example.org/schema.json"})


def test_a_schema_that_is_none_is_an_error() -> None:
    with pytest.raises(PolicyError, match="not a JSON Schema"):
        run("schema", "{}", schema={"type": "nonsense"})


def test_every_kind_has_a_doc_and_stages_and_its_own_settings() -> None:
    for name, kind in guards().items():
        assert kind.name == name
        assert kind.doc.endswith(".")
        assert kind.stages
    assert len({kind.settings for kind in guards().values()}) == len(guards())


def test_the_labelled_cases_are_jsonl() -> None:
    for file in HERE.glob("*_cases.jsonl"):
        assert all(isinstance(json.loads(line)["text"], str) for line in file.read_text(encoding="utf-8").splitlines())


def test_what_stands_in_a_passage_word_for_word_is_grounded() -> None:
    source = "If that does not help, open a private window; if it works there, delete the cookies of that site."
    assert run("grounded", f"{source[:-1]} [2].", sources=(source,)).passed
    assert run("grounded", "If it works there, delete the cookies of that site.", sources=(source,)).passed
    half = "If that helps, open a private window."
    assert not run("grounded", f"{half} Zebras graze at noon.", sources=(source,)).passed


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A device must be given back within fourteen days, unless the head of the department has [1]", True),
        ("A device must be given back within fourteen days, unless the head of the department has.", True),
        ("The device on loan\nmust be given back within", True),
        ("To restart it run this: [1]", True),
        ("A device must be given back within fourteen days. [1]", False),
        ("A device must be given back within fourteen days, unless the head of the department has agreed. [1]", False),
        ("To restart it run this:\n\n```\nrestart\n```\n\n[1]", False),
        ("ポータルを開いて、「パスワードを", True),
        ("ポータルを開いて、「パスワードを忘れた」を選びます。", False),
    ],
)
def test_a_draft_does_not_end_inside_a_sentence_of_its_source(text: str, cut: bool) -> None:
    source = (
        "A device must be given back within fourteen days, unless the head of\nthe department has agreed.\n\n"
        "The device on loan must be given back within one year.\n\nTo restart it run this:\n\n```\nrestart\n```\n\n"
        "ポータルを開いて、「パスワードを忘れた」を選びます。"
    )
    verdict = run("grounded", text, sources=(source,))
    assert ("ends in the middle" in verdict.reason) == cut
    assert verdict.passed != cut
