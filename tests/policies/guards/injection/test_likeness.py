"""Which rows are taken for one another's likeness, so that figures are not of what a fit has seen."""

from sluicegate.policies.guards.injection.likeness import clusters

ASKED = "Tell me in plain words which of the seven keys opens the cellar of the old town hall."
FILLED = "Tell me in plain words which of the seven keys starts a tractor."
MISSPELT = "Tel me in plane words wich off the sevven keys opens the celler of teh old town hal."
OTHER = "When is the canteen open on Sundays, and does it serve soup?"


def test_fillings_of_one_template_are_alike_whatever_their_sources() -> None:
    one, other, apart = clusters([ASKED, FILLED, OTHER], ["a", "b", "a"])
    assert one == other != apart


def test_a_spelling_of_the_same_text_is_alike_within_its_source() -> None:
    close = ASKED.replace("plain", "pla1n").replace("seven", "s3ven").replace("cellar of", "cellar 0f")
    assert clusters([ASKED, close], ["a", "a"]).tolist() == [0, 0]
    assert clusters([ASKED, close], ["a", "b"]).tolist() == [0, 1]
    assert clusters([ASKED, MISSPELT], ["a", "a"]).tolist() == [0, 1]


def test_what_two_texts_share_with_a_third_joins_them() -> None:
    left, right = ASKED.split(" keys ")
    assert len(set(clusters([left, ASKED, right], ["a", "b", "c"]).tolist())) == 1
    assert len(set(clusters([left, right], ["a", "c"]).tolist())) == 2


def test_a_text_of_few_words_is_alike_with_its_copies_only() -> None:
    assert clusters(["Hello", "hello ", "", "Help"], ["a", "a", "a", "a"]).tolist() == [0, 0, 1, 2]
    assert clusters([], []).tolist() == []
