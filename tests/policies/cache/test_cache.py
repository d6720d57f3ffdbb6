"""Answers that may be served again, and keys under which no stale or foreign answer can be found."""

import sqlite3
import threading
from base64 import b85encode
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.policies.cache import neighbours
from sluicegate.policies.cache.cache import AnswerStore, answer_key, answer_space, normalised
from sluicegate.services import Question

RESTS_ON: dict[str, Any] = {
    "digest": "d1",
    "request": "How do I reset my password?",
    "visible": ["reader-a", "reader-b"],
    "versions": ["v1", "v2"],
    "models": ["ollama:qwen3:1.7b"],
}


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(each_place: str, clock: Clock) -> AnswerStore:
    return AnswerStore(now=clock)


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> AnswerStore:
    return AnswerStore(tmp_path / "cache.sqlite", now=clock)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "d2"},
        {"request": "How do I reset my PIN?"},
        {"visible": ["reader-b", "reader-a"]},
        {"visible": ["reader-a"]},
        {"visible": ["reader-areader-b"]},
        {"versions": ["v1", "v3"]},
        {"versions": ["v1v2"]},
        {"visible": ["reader-a", "reader-b", "v1"], "versions": ["v2"]},
        {"models": ["openai:gpt-5-mini"]},
        {"models": []},
    ],
)
def test_whatever_an_answer_rests_on_changes_its_key(cache: AnswerStore, change: dict[str, Any]) -> None:
    """A document is in the index version, a policy and a prompt in the digest, a reader in what is visible."""
    cache.put(answer_key(**RESTS_ON), {"answer": "old"}, ttl_s=60, saved_usd=0)
    assert cache.get(answer_key(**RESTS_ON))
    assert cache.get(answer_key(**{**RESTS_ON, **change})) is None


NAMES = st.text(max_size=8)
PARTS = st.fixed_dictionaries(
    {"digest": NAMES, "visible": st.lists(NAMES, max_size=3), "versions": st.lists(NAMES, max_size=3)}
)


@pytest.mark.slow
@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (answer_key(request="q", **one) == answer_key(request="q", **other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "  how do I  RESET my\tpassword "),
        ("caf\u00e9 hours", "cafe\u0301 hours"),
        ("Straße", "STRASSE"),
        ("Hilfe!!!", "hilfe"),
        ("Help me…", "help me."),
    ],
)
def test_the_same_words_share_an_answer(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("transfer 1000 euros", "transfer 10000 euros"),
        ("I can log in", "I can not log in"),
        ("is it 1.5 or 15", "is it 15 or 1.5"),
        ("C", "C++"),
        ("-5 degrees", "5 degrees"),
        ("what is 10 %", "what is 10"),
        ("no, stop", "no stop"),
        ("resume", "résumé"),
        ("x²", "x2"),
        ("let's eat, grandma", "let's eat grandma"),
    ],
)
def test_other_words_do_not(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.slow
@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_an_answer_comes_back_with_its_age(cache: AnswerStore, clock: Clock) -> None:
    value = {"answer": {"text": "Ünïcode 🙂 \ud800"}, "documents": []}
    cache.put("k", value, ttl_s=60, saved_usd=0.01)
    clock.at += 59
    found = cache.get("k")
    assert found is not None
    assert found.value == value
    assert found.age_s == 59


def test_an_answer_ends_with_its_time_to_live(cache: AnswerStore, clock: Clock) -> None:
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    clock.at += 60
    assert cache.get("k") is None


def test_a_clock_that_jumps_back_serves_nothing_of_unknown_age(cache: AnswerStore, clock: Clock) -> None:
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    clock.at -= 3600
    assert cache.get("k") is None


def test_without_a_time_to_live_nothing_is_kept(cache: AnswerStore) -> None:
    cache.put("k", {"a": 1}, ttl_s=0, saved_usd=0)
    assert cache.get("k") is None


def test_counts_and_money_saved_survive_the_process(cache: AnswerStore, clock: Clock) -> None:
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0.02)
    assert cache.get("k")
    assert cache.get("k")
    assert cache.get("other") is None
    cache.close()
    stats = AnswerStore(now=clock).stats()
    assert (stats["hits"], stats["misses"], stats["entries"], stats["failures"]) == (2, 1, 1, 0)
    assert stats["hit_rate"] == pytest.approx(2 / 3)
    assert stats["saved_usd"] == pytest.approx(0.04)


def random_text(size: int) -> str:
    """That takes as many bytes when it is packed."""
    return b85encode(Random(1).randbytes(size)).decode()


def test_size_is_bounded_and_the_least_used_go_first(each_place: str, clock: Clock) -> None:
    cache = AnswerStore(max_mb=0.1, now=clock)
    text = random_text(10_000)
    for number in range(9):
        clock.at += 1
        cache.put(f"k{number}", {"text": text}, ttl_s=1000, saved_usd=0)
    clock.at += 1
    assert cache.get("k0")
    cache.stats()
    cache.put("k9", {"text": text}, ttl_s=1000, saved_usd=0)
    assert cache.get("k0")
    assert cache.get("k1") is None
    assert cache.get("k9")
    stats = cache.stats()
    assert stats["bytes"] <= 100_000
    assert stats["evicted"] == 10 - stats["entries"]
    cache.put("huge", {"text": random_text(200_000)}, ttl_s=1000, saved_usd=0)
    assert cache.get("huge") is None


def test_replacing_an_answer_counts_its_size_once(cache: AnswerStore) -> None:
    for _ in range(3):
        cache.put("k", {"a": "x" * 100}, ttl_s=60, saved_usd=0)
    assert cache.stats()["bytes"] < 200
    assert cache.clear() == 1
    assert cache.stats()["bytes"] == 0


def test_a_failing_file_is_a_miss_and_is_counted(file: AnswerStore, tmp_path: Path) -> None:
    cache = file
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as other, other:
        (packed,) = other.execute("SELECT value FROM answers").fetchone()
        for broken in (b"{", packed[:-1], b""):
            other.execute("UPDATE answers SET value = ?", (broken,))
            other.commit()
            assert cache.get("k") is None
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as other, other:
        other.execute("ALTER TABLE answers RENAME TO gone")
    other.close()
    assert cache.get("k") is None
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as other, other:
        other.execute("ALTER TABLE gone RENAME TO answers")
    other.close()
    assert cache.stats()["failures"] == 5


def test_a_file_that_another_process_keeps_locked_costs_counts_only(
    file: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = file
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    cache.database._connection.execute("PRAGMA busy_timeout = 1")  # type: ignore[reportPrivateUsage]
    monkeypatch.setattr(AnswerStore, "_FLUSH_EVERY", 2)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert cache.get("k")
        assert cache.get("k") is None
        cache.put("other", {"a": 1}, ttl_s=60, saved_usd=0)
    assert cache.get("k")
    assert cache.get("other") is None
    assert cache.stats()["failures"] == 2


def test_a_hit_is_one_read_and_counts_are_written_now_and_then(file: AnswerStore) -> None:
    cache = file
    cache.put("k", {"answer": {"text": "x" * 500}, "documents": []}, ttl_s=1e6, saved_usd=0)
    statements: list[str] = []
    cache.database._connection.set_trace_callback(statements.append)  # type: ignore[reportPrivateUsage]
    assert all(cache.get("k") for _ in range(199))
    assert len(statements) == 199
    assert all(each.startswith("SELECT value") for each in statements)
    assert cache.get("k")
    assert [each.split()[0] for each in statements[200:]] == ["BEGIN", "UPDATE", "UPDATE", "COMMIT"]


def _asked(text: str, *vector: float, space: str = "space") -> Question:
    return Question(space, text, vector)


def _kept(cache: AnswerStore, key: str, question: Question, *, ttl_s: float = 60) -> None:
    cache.put(key, {"answer": key}, ttl_s=ttl_s, saved_usd=0.5, question=question)


def _near(cache: AnswerStore, question: Question, similarity: float = 0.5) -> list[tuple[str, float]]:
    found = cache.near(question, similarity=similarity)
    return [(neighbour.text, round(neighbour.similarity, 2)) for neighbour in found]


def test_neighbours_are_of_one_space_nearest_first(cache: AnswerStore) -> None:
    _kept(cache, "a", _asked("far", 0.6, 0.8))
    _kept(cache, "b", _asked("near", 1.0, 0.0))
    _kept(cache, "c", _asked("opposite", -1.0, 0.0))
    _kept(cache, "d", _asked("another reader's", 1.0, 0.0, space="other"))
    assert _near(cache, _asked("?", 1.0, 0.0)) == [("near", 1.0), ("far", 0.6)]
    assert _near(cache, _asked("?", 1.0, 0.0), 0.9) == [("near", 1.0)]
    assert _near(cache, _asked("?", 1.0, 0.0, space="empty")) == []


SPACE: dict[str, Any] = {
    "digest": "d1", "intent": "vpn", "visible": ["reader-a"], "versions": ["v1"], "embedder": "e1",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "d2"}, {"intent": "wifi"}, {"visible": ["reader-b"]}, {"versions": ["v2"]},
        {"visible": ["reader-a", "v1"], "versions": []}, {"embedder": "e2"},
    ],
)  # fmt: skip
def test_whatever_an_answer_rests_on_changes_its_space(cache: AnswerStore, change: dict[str, Any]) -> None:
    _kept(cache, "k", _asked("kept", 1.0, 0.0, space=answer_space(**SPACE)))
    assert _near(cache, _asked("?", 1.0, 0.0, space=answer_space(**SPACE)))
    assert _near(cache, _asked("?", 1.0, 0.0, space=answer_space(**{**SPACE, **change}))) == []


def test_a_neighbour_lives_as_long_as_its_answer(cache: AnswerStore, clock: Clock) -> None:
    _kept(cache, "k", _asked("kept", 1.0, 0.0))
    clock.at -= 10
    assert _near(cache, _asked("?", 1.0, 0.0)) == []
    clock.at += 69
    assert _near(cache, _asked("?", 1.0, 0.0))
    clock.at += 1
    assert _near(cache, _asked("?", 1.0, 0.0)) == []
    _kept(cache, "k", _asked("kept again", 0.0, 1.0))
    assert _near(cache, _asked("?", 0.0, 1.0)) == [("kept again", 1.0)]
    cache.put("k", {"answer": "no longer to be found by others"}, ttl_s=60, saved_usd=0)
    assert _near(cache, _asked("?", 0.0, 1.0)) == []


def test_clearing_and_evicting_forget_the_questions_too(tmp_path: Path, clock: Clock) -> None:
    cache = AnswerStore(tmp_path / "c.sqlite", max_mb=0.01, now=clock)
    for number in range(20):
        clock.at += 1
        _kept(cache, f"k{number}", _asked("x" * 1000, 1.0, 0.0), ttl_s=1000)
    assert cache.stats()["bytes"] <= 10_000
    assert len(_near(cache, _asked("?", 1.0, 0.0))) == cache.stats()["entries"] < 10
    cache.clear()
    assert _near(cache, _asked("?", 1.0, 0.0)) == []
    assert b"xxxx" not in (tmp_path / "c.sqlite").read_bytes() + (tmp_path / "c.sqlite-wal").read_bytes()


def test_another_process_s_questions_are_found_at_once(cache: AnswerStore, clock: Clock) -> None:
    assert _near(cache, _asked("?", 1.0, 0.0)) == []
    other = AnswerStore(now=clock)
    _kept(other, "k", _asked("theirs", 1.0, 0.0))
    assert _near(cache, _asked("?", 1.0, 0.0)) == [("theirs", 1.0)]
    other.clear()
    assert _near(cache, _asked("?", 1.0, 0.0)) == []


def test_what_many_add_at_a_time_is_found_by_all(cache: AnswerStore, clock: Clock) -> None:
    def add(word: str) -> None:
        own = AnswerStore(now=clock)
        for number in range(10):
            _kept(own, f"{word}{number}", _asked(f"{word}{number}", 1.0, 0.0))
            _near(own, _asked("?", 1.0, 0.0))
        own.close()

    threads = [threading.Thread(target=add, args=(word,)) for word in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = cache.stats()
    assert (stats["entries"], stats["failures"]) == (30, 0)
    found = cache._neighbours  # type: ignore[reportPrivateUsage]
    _near(cache, _asked("?", 1.0, 0.0))
    assert len(found._space.rows) == 30  # type: ignore[reportPrivateUsage, reportOptionalMemberAccess]


def test_a_search_reads_what_is_new_and_all_only_when_something_has_gone(
    cache: AnswerStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_OVERLAP", 0)
    for number in range(5):
        _kept(cache, f"k{number}", _asked(f"q{number}", 1.0, 0.0))
    read: list[list[str]] = []
    real = neighbours._extended  # type: ignore[reportPrivateUsage]

    def noted(space: Any, fresh: Any, epoch: str) -> Any:
        read.append([row["key"] for row in fresh])
        return real(space, fresh, epoch)

    monkeypatch.setattr(neighbours, "_extended", noted)
    other = AnswerStore(now=clock)
    for _ in range(2):
        assert len(_near(cache, _asked("?", 1.0, 0.0))) == 5
    _kept(other, "k5", _asked("q5", 1.0, 0.0))
    assert len(_near(cache, _asked("?", 1.0, 0.0))) == 6
    assert read == [["k0", "k1", "k2", "k3", "k4"], ["k5"]]
    clock.at += 1000
    _kept(other, "k6", _asked("q6", 1.0, 0.0))
    other.expire()
    assert _near(cache, _asked("?", 1.0, 0.0)) == [("q6", 1.0)]
    assert read[2:] == [["k6"]]
    assert "q1" not in str(cache._neighbours._space), "nothing of what was erased is left in memory"  # type: ignore[reportPrivateUsage]


def test_a_server_that_is_away_is_a_miss(monkeypatch: pytest.MonkeyPatch, postgres: str) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    cache = AnswerStore()
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    with cache.database.writing() as execute:
        execute("ALTER TABLE answers RENAME TO gone")
    assert cache.get("k") is None
    assert cache.near(_asked("?", 1.0), similarity=0.5) == ()
    cache.put("k", {"a": 1}, ttl_s=60, saved_usd=0)
    assert cache._failures == 3  # type: ignore[reportPrivateUsage]


def test_vectors_of_another_model_are_left_out(cache: AnswerStore) -> None:
    _kept(cache, "k", _asked("two dimensions", 1.0, 0.0))
    assert _near(cache, _asked("?", 1.0, 0.0, 0.0)) == []


def test_a_look_up_in_two_tries_is_counted_once(cache: AnswerStore) -> None:
    _kept(cache, "k", _asked("kept", 1.0, 0.0))
    assert cache.get("other") is None
    assert cache.get("k", again=True)
    assert cache.get("other") is None
    assert cache.get("gone", again=True) is None
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["saved_usd"]) == (1, 1, 0.5)


def test_questions_that_cannot_be_read_are_none(file: AnswerStore, tmp_path: Path) -> None:
    cache = file
    _kept(cache, "k", _asked("kept", 1.0, 0.0))
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as other, other:
        other.execute("ALTER TABLE questions RENAME TO gone")
    assert _near(cache, _asked("?", 1.0, 0.0)) == []
    assert cache.stats()["failures"] == 1
