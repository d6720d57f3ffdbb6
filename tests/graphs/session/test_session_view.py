"""How a session shows itself: the way, the values, the cost; everything escaped, nothing from outside."""

import re
from typing import Any

import pytest

from sluicegate.graphs.picture.annotations import short
from sluicegate.graphs.session.session import Session
from sluicegate.graphs.session.view import plain
from tests.support.fakes import FakeModels
from tests.support.helpdesk import HELPDESK, fakes, start

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;"


@pytest.fixture
def answered() -> Session:
    return start().run()


@pytest.mark.slow
def test_the_graph_shows_way_values_and_place() -> None:
    session = start(confidence=0.9).run(until="answer")
    html = session._repr_html_()
    assert 'class="sg-node sg-generates sg-current" data-node="answer"' in html
    taken = re.findall(r'class="sg-edge sg-taken" data-from="(\w+)" data-to="(\w+)"', html)
    assert sorted(taken) == sorted([("classify", "gate"), ("gate", "recall"), ("recall", "facts"), ("facts", "answer")])
    assert "▸ confidence 0.90 ≥ 0.70" in html
    assert "▸ password_reset 0.90" in html
    assert "1 passage, best 0.80" in html
    assert "next: <b>answer</b>" in html


@pytest.mark.slow
def test_the_head_says_status_and_cost() -> None:
    html = start(models=FakeModels(parsed={"sentences": [1]}, usd=0.00125)).run()._repr_html_()
    assert '<span class="chip answered">answered</span>path <b>rag-slm</b>' in html
    assert re.search(r"\$0\.00\d+ · \d+ tokens · \d+\.\d\d s", html)


@pytest.mark.slow
def test_a_waiting_session_shows_what_is_asked() -> None:
    html = start(label="hr_confidential").run()._repr_html_()
    assert "waits for role:helpdesk-lead" in html
    assert "high-risk class" in html


@pytest.mark.slow
def test_every_text_is_escaped() -> None:
    session = Session.start(HELPDESK, EVIL, as_=EVIL, change=fakes()).run(until="check")
    session.edit(answer={"text": EVIL, "model": EVIL})
    session.run()
    other = session.fork(at="check")
    shown: list[Any] = [session, session.state, session.trail, session.diff, session.compare(other)]
    for one in shown:
        html = one._repr_html_()
        assert "<script" not in html
        assert "<img" not in html
    assert "&lt;script&gt;" in session.state._repr_html_()


@pytest.mark.slow
def test_nothing_is_loaded_from_outside(answered: Session) -> None:
    html = answered._repr_html_() + answered.state._repr_html_()
    assert not re.findall(r'(?:src|href|url\()\s*=?\s*["\']?(?:https?:)?//', html)
    assert set(re.findall(r"https?://[^\"' ]+", html)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.slow
def test_bundle_for_notebooks(answered: Session) -> None:
    bundle = answered._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"].startswith("<Session helpdesk ")
    assert "classify → gate → recall" in bundle["text/plain"]


@pytest.mark.slow
def test_a_step_shows_before_and_after() -> None:
    session = start().run()
    html = session.diff._repr_html_()
    assert "<del>running</del>" in html
    assert '<span class="new">answered</span>' in html
    assert "run.status: running → answered" in repr(session.diff)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (True, "true"), (0.123456, "0.1235"), (3, "3"), ("a" * 200, "a" * 119 + "…"), ([], ""),
        (["a", "b"], "a, b"), ({"x": 1, "y": None}, "x: 1, y: –"),
        ([{"title": "Passwords", "score": 0.8}], "Passwords (0.8)"),
    ],
)  # fmt: skip
def test_values_for_people(value: Any, shown: str) -> None:
    assert plain(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(True, "yes"), (None, "–"), (0.5, "0.50"), (0.0012, "0.0012"), ("x", "x")]
)
def test_values_on_branches(value: Any, shown: str) -> None:
    assert short(value) == shown
