"""Label decoding: a model is shown labels under letters, and the probability of a label is that of its letter's token.

Two things keep that from being believed as it stands. Small models favour some letters whatever is asked: that prior is
measured with content-free requests (Zhao et al. 2021, "Calibrate Before Use", contextual calibration). And a model is
as sure of a wrong letter as of a right one: how much its letters tell is measured on labelled requests of other
domains, the probe's, as two exponents (`services.LabelScale`), with which a label's probability is

    p(label) ~ said(label) ** scale.said / prior(label) ** scale.prior

A model whose letters tell nothing gets exponents near 0, and then no label is likelier than another.
"""

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.services import LabelScale, Message, ModelRequest, TokenLogprob

__all__ = ["CONTENT_FREE", "LETTERS", "UNPROBED", "fitted", "letter_probabilities", "mean", "question", "scaled"]

LETTERS = string.ascii_uppercase
"""One token each for every tokenizer in use; so many labels can be told apart in one call."""
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Requests that say nothing, as Zhao et al. use them."""
ALTERNATIVES = 100
"""Tokens listed with the one that decides; servers give 20 at most."""
SYSTEM = "Sort the request into the one class that fits it best. Answer with the letter of the class."
_STEPS = (0.25, 0.05)
"""Exponents are tried from 0 to 2 by the first, then around the best by the second; nearer, no probe tells apart."""


UNPROBED = LabelScale(0.1, 0.0)
"""For a model without a probe: its letters count as little as those of the smallest embedded model."""


def question(role: str, text: str, labels: Sequence[str], describe: Mapping[str, str]) -> ModelRequest:
    """The call that asks for the letter of one of at most `LETTERS` labels."""
    letters = LETTERS[: len(labels)]
    listed = "\n".join(
        f"{letter}. {describe.get(label) or label.replace('_', ' ')}"
        for letter, label in zip(letters, labels, strict=True)
    )
    schema = {"type": "object", "properties": {"class": {"enum": list(letters)}}, "required": ["class"]}
    messages = (Message("system", SYSTEM), Message("user", f"Classes:\n{listed}\n\nRequest: {text}"))
    return ModelRequest(role, messages, max_tokens=24, schema=schema, logprobs=ALTERNATIVES)


def letter_probabilities(tokens: Sequence[TokenLogprob], answer: Any, letters: int) -> list[float]:
    """Probability of each letter at the token that decided, renormalised over them; empty where no token tells.

    A model lists its likeliest tokens, of all that it knows. A letter that is not among them is at most as likely as
    the last one that is, and as the one that was chosen among letters; it counts as that, for less would make the
    others surer than the model was.
    """
    chosen = str(answer.get("class", ""))
    token = next((each for each in reversed(tokens) if each.token.strip(' "') == chosen), None)
    if token is None or not token.alternatives:
        return []
    found: dict[str, float] = {}
    for name, logprob in {token.token: token.logprob, **dict(token.alternatives)}.items():
        letter = name.strip(' "')
        found[letter] = found.get(letter, 0.0) + math.exp(logprob)
    bound = math.exp(min(token.logprob, *(logprob for _, logprob in token.alternatives)))
    values = [found.get(letter, bound) for letter in LETTERS[:letters]]
    return [value / sum(values) for value in values]


def mean(said: Sequence[Sequence[float]]) -> list[float]:
    """The prior: what the model says, on average, of requests that say nothing."""
    return [sum(column) / len(said) for column in zip(*said, strict=True)]


def scaled(said: Sequence[float], prior: Sequence[float], scale: LabelScale) -> list[float]:
    """Probabilities of the labels, from what the model said of this request and what it says of any."""
    pairs = zip(said, prior, strict=True)
    logits = [scale.said * math.log(one) - scale.prior * math.log(other) for one, other in pairs]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def fitted(rows: Sequence[tuple[Sequence[float], Sequence[float], int]]) -> LabelScale:
    """The exponents under which the right labels of `rows` (said, prior, position of the right one) are likeliest.

    The loss is convex in both, so the best of a coarse grid is next to the best of a fine one.
    """

    def loss(scale: LabelScale) -> float:
        return -sum(math.log(scaled(said, prior, scale)[at]) for said, prior, at in rows)

    coarse, fine = _STEPS
    steps = [step * coarse for step in range(9)]
    best = min((LabelScale(said, prior) for said in steps for prior in steps), key=loss)
    near = [step * fine for step in range(-5, 6)]
    around = [[round(max(0.0, one + step), 2) for step in near] for one in (best.said, best.prior)]
    return min((LabelScale(said, prior) for said in around[0] for prior in around[1]), key=loss)
