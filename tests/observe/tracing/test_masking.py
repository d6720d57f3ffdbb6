"""What masking replaces, what it leaves, how it cuts; on texts as people and systems write them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.settings import TraceSettings

KEY = b"k" * 32


def masking(**settings: Any) -> Masking:
    return Masking(TraceSettings(**settings), key=KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use sk-proj-AbCdEf0123456789AbCdEf now", "use <token> now"),
        ("export AWS=AKIAIOSFODNN7EXAMPLE", "export AWS=<token>"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "<token>"),
        ("Authorization: Bearer abc.def-ghi_jkl012345", "Authorization: <bearer>"),
        ("password: hunter2hunter2", "<password>"),
        ("my password is Sup3r$ecret!", "my <password>"),
        ("My password is: Tulip", "My <password>"),
        ("the token is 'tulips'", "the <password>"),
        ("the password is Rosebud7.", "the <password>"),
        ('{"api_key": "0123456789abcdef"}', '{"<password>}'),
        ("postgres://bob:s3cret@db/x", "postgres://<credentials-in-url>@db/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end", "<private-key> end"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "<jwt>"),
        ("write to ann.smith+it@mail.example.co.uk.", "write to <email>."),
        ("DE89 3704 0044 0532 0130 00 is mine", "<iban> is mine"),
        ("card 4111 1111 1111 1111, thanks", "card <card>, thanks"),
        ("call +49 30 901820 please", "call <phone> please"),
    ],
)
def test_what_is_replaced(text: str, expected: str) -> None:
    assert masking().text(text) == expected
    # every pattern is tried on a text in other letters
    assert masking().text(f"{text} é") == f"{expected} é"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00.000+00:00",
        "how do I reset my password?",
        "For the guest network no password is needed.",
        "My password is wrong, and the token is well-known (the secret is out).",
        "the secret to success is patience"[:10],
        "invoice 1234567890123",
        "4e65d3fbe8ad6535681b021b30785b12",
        "9a8945307cfbd9fc6d1e4b7d95a26f51109fb5c6c750ec74b2a6274bba61830d",
        "intent.confidence < router.threshold",
        "version 10.0.0.1 of the driver",
        "kb-1@2 (0.80)",
    ],
)
def test_what_is_left(text: str) -> None:
    assert masking().text(text) == text


def test_patterns_are_tried_only_where_their_signs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = masking()
    tried: list[tuple[str, ...]] = []
    search = subject._search
    monkeypatch.setattr(subject, "_search", lambda *kinds: tried.append(kinds) or search(*kinds))
    assert subject.text("How do I reset it, and who may?") == "How do I reset it, and who may?"
    assert subject.text("mail bob@example.org") == "mail <email>"
    assert subject.text("My PASSWORD is: Tulip") == "My <password>"
    assert tried == [("email",), ("password",)]


def test_addresses_are_masked_only_when_asked() -> None:
    assert masking(pii=("ip",)).text("from 192.168.1.17 and a@b.de") == "from <ip> and a@b.de"


def test_patterns_of_the_settings() -> None:
    own = masking(patterns={"employee": r"\bE-\d{6}\b", "ticket": r"INC\d{7}"})
    assert own.text("E-123456 opened INC0012345, mail a@b.de") == "<employee> opened <ticket>, mail <email>"
    with pytest.raises(ConfigError, match=r"tracing.patterns.bad is not a regular expression"):
        masking(patterns={"bad": "("})
    with pytest.raises(ConfigError, match=r"has a capturing group"):
        masking(patterns={"bad": "(a)"})


def test_every_level_of_a_value_is_masked_and_numbers_are_kept() -> None:
    value = {"a": [{"mail": "x@y.de", "n": 1.5, "ok": True, "none": None}], "x@y.de": "key"}
    assert masking().value(value) == {"a": [{"mail": "<email>", "n": 1.5, "ok": True, "none": None}], "<email>": "key"}


def test_a_long_text_is_cut_with_a_note_and_a_secret_at_the_cut_is_not_half_shown() -> None:
    cut = masking(payload_limit=200).text("a" * 190 + " sk-proj-AbCdEf0123456789AbCdEf" + "b" * 5000)
    assert cut.endswith("… [cut: 5221 characters]")
    assert "sk-proj" not in cut
    assert masking(payload_limit=200).text("a" * 200) == "a" * 200


def test_users_have_the_same_name_under_the_same_key_only() -> None:
    one, other = Masking(key=KEY), Masking(key=b"o" * 32)
    assert one.user("ann") == Masking(key=KEY).user("ann") != one.user("bob")
    assert one.user("ann") != other.user("ann")
    assert one.user("") == ""
    assert masking(users="plain").user("ann") == "ann"


def test_the_key_is_made_once_in_the_home_and_only_its_owner_reads_it(own_home: Any) -> None:
    assert Masking().user("ann") == Masking().user("ann")
    assert (own_home / "trace.key").stat().st_mode & 0o777 == 0o600


def test_two_that_make_the_key_at_once_agree(own_home: Path) -> None:
    barrier = threading.Barrier(8)

    def name(_: int) -> str:
        barrier.wait()
        return Masking().user("ann")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(name, range(8)))) == 1
    assert [path.name for path in own_home.iterdir()] == ["trace.key"]


def test_a_key_that_is_none_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_TRACE_KEY", "no hex")
    with pytest.raises(ConfigError, match="not hexadecimal"):
        Masking().user("ann")


def test_an_environments_key_is_shared(monkeypatch: pytest.MonkeyPatch, own_home: Any) -> None:
    monkeypatch.setenv("SLUICEGATE_TRACE_KEY", KEY.hex())
    assert Masking().user("ann") == Masking(key=KEY).user("ann")
    assert not (own_home / "trace.key").exists()


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("start", "piece", "masked"),
    [
        ("", "a@", "a@a@"),
        ("", "1 ", "1 1 "),
        ("", "-----BEGIN A PRIVATE KEY-----", "<private-key>"),
        ("", "password ", "password password "),
        ("", "://", "://://"),
        ("x@", "a-", "x@a-a-"),
        ("+", "1 ", "+1 1 "),
        ("", "eyJ", "eyJeyJ"),
        ("", "a.b", "a.ba.b"),
        ("DE12 ", "ABCD ", "<iban> ABCD "),
    ],
)
def test_no_pattern_costs_the_square_of_a_texts_length(start: str, piece: str, masked: str) -> None:
    """That would be days for a text of a million characters."""
    text = start + piece * (1_000_000 // len(piece))
    assert masking(payload_limit=len(text)).text(text).startswith(masked)


def test_the_environment_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_ENVIRONMENT", "Prod EU")
    assert TraceSettings().environment == "prod-eu"


def test_an_environment_that_langfuse_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValueError, match="environment"):
        TraceSettings(environment="Prod Env")
