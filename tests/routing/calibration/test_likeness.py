"""What is unlike the calibration rows: the language, the novelty, and the bound on how many requests like them fail."""

import numpy as np
import pytest

from sluicegate.routing.calibration.likeness import NOVEL, Likeness, fit_likeness

ENGLISH = "My laptop does not start since the update this morning."
ALIKE = {"wording": 0.9, "meaning": 0.5}


@pytest.mark.slow
def test_the_share_of_requests_like_the_calibration_rows_that_fail_is_bounded() -> None:
    random = np.random.default_rng(5)
    draws, over = 200, 0
    for _ in range(draws):
        seen = [{"wording": float(x), "meaning": float(y)} for x, y in random.normal(size=(400, 2))]
        likeness, unlike, card = fit_likeness([ENGLISH] * 400, seen, enough=29)
        assert card["bound"] <= NOVEL
        assert 0 < unlike.sum() == card["novel"]
        fresh = random.normal(size=(4000, 2))
        least = likeness.least
        share = np.mean((fresh[:, 0] < least["wording"]) | (fresh[:, 1] < least["meaning"]))
        over += share > card["bound"]
    assert over <= 0.05 * draws, "with 95 % confidence"


def test_few_rows_state_the_weaker_bound_that_they_bear_out() -> None:
    _, unlike, card = fit_likeness([ENGLISH] * 20, [{"wording": i / 20} for i in range(20)], enough=29)
    assert not unlike.any()
    assert card["views"]["wording"]["least"] == 0
    assert card["bound"] == pytest.approx(1 - 0.05 ** (1 / 20))


def test_another_language_is_foreign_and_a_short_ask_is_not() -> None:
    likeness = Likeness(frozenset({"en"}), {})
    assert likeness.unlike("Ich habe mein Passwort vergessen.", ALIKE) == "language"
    assert likeness.unlike("パスワードを忘れました。", ALIKE) == "language"
    for text in ("vpn", "printer", "no internet", "thanks", "4711", "", "🦆"):
        assert likeness.unlike(text, {"wording": 1.0}) == "", text
    assert Likeness(frozenset(), {}).unlike("パスワードを忘れました。", ALIKE) == "", "nothing is known of languages"


def test_a_language_with_enough_calibration_rows_is_one_of_theirs() -> None:
    german = "Ich habe mein Passwort vergessen und komme nicht mehr in mein Konto."
    seen = [ALIKE] * 300
    few, unlike, card = fit_likeness([ENGLISH] * 290 + [german] * 10, seen, enough=29)
    assert few.languages == {"en"}
    assert unlike.tolist() == [False] * 290 + [True] * 10, "what is foreign says nothing of the novelty of the others"
    assert (card["foreign"], card["rows_by_language"]) == (10, {"de": 10, "en": 290})
    many, unlike, _ = fit_likeness([ENGLISH] * 270 + [german] * 30, seen, enough=29)
    assert many.languages == {"de", "en"}
    assert not unlike.any()


def test_the_card_of_an_earlier_release_lets_everything_pass() -> None:
    assert Likeness.of({"task": "intent"}).unlike("パスワードを忘れました。", {"wording": 0.0}) == ""
