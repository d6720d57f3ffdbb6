"""Ranking the sentences of passages: similarity, and rare words that are shared."""

import pytest

from sluicegate.nodes.writing.ranking import WEIGHTS, SourcePassage, scores


def flat(title: str, *sentences: str, cosine: float = 0.5) -> SourcePassage:
    same = [cosine] * len(sentences)
    return SourcePassage(title, sentences, cosine, same, same)


def test_weights_are_shares() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    [[best]] = scores("badge printer", [flat("Badges", "Hold the badge to the printer.", cosine=1.0)])
    assert best == pytest.approx(1.0)


def test_a_shared_word_tells_sentences_of_equal_similarity_apart() -> None:
    vpn = flat("VPN", "Restart it.", "On error 809 take the other gateway.")
    [[plain, named]] = scores("What is error 809?", [vpn])
    assert named > plain


def test_a_rare_word_counts_more_than_one_that_all_passages_say() -> None:
    printing = [flat("", f"The printer {what}.") for what in ("prints", "scans", "copies")]
    rare = flat("", "A toner is changed by the house service.")
    *common, [other] = scores("printer toner", [*printing, rare])
    assert all(other > one for [one] in common)


def test_a_title_counts_for_its_passage() -> None:
    found = scores("guest wifi", [flat(title, "Ask at the desk.") for title in ("Guest wifi", "Badges")])
    [[under], [elsewhere]] = found
    assert under - elsewhere == pytest.approx(WEIGHTS["passage_words"])


def test_each_similarity_counts_by_its_weight() -> None:
    [[first, second]] = scores("?", [SourcePassage("", ["One.", "Two."], 0.4, [0.6, 0.2], [0.8, 0.1])])
    assert first == pytest.approx(0.1 * 0.4 + 0.2 * 0.8 + 0.2 * 0.6 + 0.25 * 0.8)
    assert second == pytest.approx(0.1 * 0.4 + 0.2 * 0.8 + 0.2 * 0.2 + 0.25 * 0.1)
