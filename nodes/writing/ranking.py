"""Which sentence of some passages answers a question: a small sum of similarities and of shared rare words.

A sentence's score is the weighted mean of what `WEIGHTS` names, each in [0, 1] for texts that have to do with each
other. Cosines find what is said in other words; shared words find codes, names and terms that an embedder of this size
blurs. A word counts by its rarity among the passages at hand (the idf of BM25, Robertson and Zaragoza 2009, section 3).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluicegate.policies.guards.detectors.prose import content_words, word_set

__all__ = ["WEIGHTS", "SourcePassage", "scores"]

WEIGHTS: Mapping[str, float] = {
    "passage": 0.10,  # cosine of the whole passage
    "nearest": 0.20,  # cosine of the passage's nearest sentence under its title
    "alone": 0.20,  # cosine of the sentence
    "titled": 0.25,  # cosine of the sentence under its title
    "passage_words": 0.10,  # share of the question's words that the passage or its title has, by rarity
    "words": 0.15,  # the same of the sentence
}
"""A softmax over sentences, fitted to the 85 rows of the helpdesk's `train.jsonl` that name the right sentence, gave
0.08, 0.18, 0.23, 0.26, 0.08 and 0.18; fitted to the 123 rows of `calibration.jsonl` instead 0.14, 0.16, 0.19, 0.25,
0.08 and 0.15. Rounded, so that other workflows are not served the noise of one."""


@dataclass(frozen=True, slots=True)
class SourcePassage:
    title: str
    sentences: Sequence[str]
    cosine: float
    """Of the whole passage and the question."""
    alone: Sequence[float]
    """Cosine of each sentence and the question."""
    titled: Sequence[float]
    """The same of "title: sentence"."""


def scores(question: str, passages: Sequence[SourcePassage]) -> list[list[float]]:
    """The score of every sentence, passage by passage."""
    found = [(word_set(one.title), [word_set(sentence) for sentence in one.sentences]) for one in passages]
    whole = [title.union(*sentences) for title, sentences in found]
    rarity = {word: _idf(sum(word in words for words in whole), len(whole)) for word in content_words(question)}
    asked = sum(rarity.values()) or 1.0

    def shared(words: frozenset[str]) -> float:
        return sum(value for word, value in rarity.items() if word in words) / asked

    return [
        [
            WEIGHTS["passage"] * passage.cosine
            + WEIGHTS["nearest"] * max(passage.titled)
            + WEIGHTS["alone"] * alone
            + WEIGHTS["titled"] * titled
            + WEIGHTS["passage_words"] * shared(all_words)
            + WEIGHTS["words"] * shared(words)
            for alone, titled, words in zip(passage.alone, passage.titled, sentences, strict=True)
        ]
        for passage, all_words, (_, sentences) in zip(passages, whole, found, strict=True)
    ]


def _idf(having: int, count: int) -> float:
    return math.log(1 + (count - having + 0.5) / (having + 0.5))
