import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.policies.guards.checking import Finding
from sluicegate.policies.guards.redaction import merged, redact, restore

TEXTS = st.text(alphabet=st.sampled_from("ab @<>_1EMAIL\n€"), max_size=60)


@st.composite
def texts_with_findings(draw: st.DrawFn) -> tuple[str, list[Finding]]:
    text = draw(TEXTS)
    places = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(places, places, st.sampled_from(["email", "name", "api-key"])), max_size=6))
    return text, [Finding(min(a, b), max(a, b), label) for a, b, label in spans]


@pytest.mark.slow
@given(texts_with_findings())
def test_restore_undoes_redact(case: tuple[str, list[Finding]]) -> None:
    text, findings = case
    redacted, mapping = redact(text, findings)
    assert restore(redacted, mapping) == text


@pytest.mark.slow
@given(texts_with_findings())
def test_nothing_found_is_left(case: tuple[str, list[Finding]]) -> None:
    text, findings = case
    redacted, mapping = redact(text, findings)
    kept = redacted
    for placeholder in mapping:
        kept = kept.replace(placeholder, "\0")
    hidden = {at for found in findings for at in range(found.start, found.end)}
    open_text = "".join(character for at, character in enumerate(text) if at not in hidden)
    assert kept.replace("\0", "") == open_text


def test_overlapping_findings_become_one_named_by_the_longest() -> None:
    found = merged([Finding(0, 5, "person"), Finding(3, 12, "email"), Finding(20, 22, "phone")])
    assert found == [Finding(0, 12, "email"), Finding(20, 22, "phone")]


def test_equal_values_share_a_placeholder_and_others_do_not() -> None:
    text = "a@x.org b@x.org a@x.org"
    spans = [Finding(0, 7, "email"), Finding(8, 15, "email"), Finding(16, 23, "email")]
    redacted, mapping = redact(text, spans)
    assert redacted == "<EMAIL_1> <EMAIL_2> <EMAIL_1>"
    assert mapping == {"<EMAIL_1>": "a@x.org", "<EMAIL_2>": "b@x.org"}


def test_a_placeholder_that_the_text_already_holds_is_not_used() -> None:
    redacted, mapping = redact("<EMAIL_1> a@x.org", [Finding(10, 17, "email")])
    assert redacted == "<EMAIL_1> <EMAIL_2>"
    assert restore(redacted, mapping) == "<EMAIL_1> a@x.org"
