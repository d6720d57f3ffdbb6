import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.routing.answer import fit_answers, load_answers, read_graded
from sluicegate.services import Completion, TokenLogprob

SOURCE = "Hold the power button for ten seconds, then the router restarts by itself."


def completion(text: str, logprob: float | None = -0.1, finish: Any = "stop") -> Completion:
    tokens = () if logprob is None else tuple(TokenLogprob(word, logprob) for word in text.split())
    return Completion(text, "m", "m", 1, 1, finish, 1.0, 0.0, logprobs=tokens)


def test_the_defaults_order_answers_and_say_they_are_unfitted() -> None:
    sure = load_answers(None)
    assert not sure.fitted
    good = sure(completion("Hold the power button for ten seconds [1]."), [SOURCE])
    assert good > 0.8
    assert sure(completion("Call the moon and order seventeen elephants."), [SOURCE]) < 0.4
    assert sure(completion("Hold the power button for ten seconds [1].", -3.0), [SOURCE]) < 0.5
    assert sure(completion("Hold the power button for ten seconds [1].", finish="length"), [SOURCE]) < good
    assert 0.5 < sure(completion("Hold the power button for ten seconds [1].", None), [SOURCE]) < good
    assert sure(completion("  "), [SOURCE]) == 0.0


def graded(count: int, seed: int) -> list[dict[str, Any]]:
    """Answers that are right when grounded, nine times in ten; the log-probabilities say nothing."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        grounded = bool(random.integers(2))
        text = "Hold the power button." if grounded else "Invent something entirely different instead."
        right = grounded if random.uniform() < 0.9 else not grounded
        logprobs = random.normal(-0.5, 0.2, 5).clip(max=0).tolist()
        rows.append({"text": text, "sources": [SOURCE], "right": bool(right), "logprobs": logprobs})
    return rows


def test_a_fit_is_calibrated(tmp_path: Path) -> None:
    card = fit_answers(read_graded(graded(400, 0)), digests={"rows": "0"}, out=tmp_path / "answers")
    assert card["metrics"]["auroc"] > 0.8
    assert card["metrics"]["ece"] < 0.08
    fitted = load_answers(tmp_path / "answers")
    assert fitted.fitted
    assert fitted.hash == card["hash"]
    assert fitted(completion("Hold the power button.", -0.5), [SOURCE]) == pytest.approx(0.9, abs=0.06)
    assert fitted(completion("Invent something entirely different.", -0.5), [SOURCE]) == pytest.approx(0.1, abs=0.06)


def test_too_few_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SG313 20 graded answers"):
        fit_answers(read_graded(graded(20, 0)), digests={}, out=tmp_path / "answers")
    with pytest.raises(ModelError, match="SG313 row 1: a graded answer has text, sources and right"):
        read_graded([{"text": "x"}])
    with pytest.raises(ModelError, match="SG310"):
        load_answers(tmp_path / "absent")


def test_an_edited_fit_is_refused(tmp_path: Path) -> None:
    fit_answers(read_graded(graded(100, 0)), digests={}, out=tmp_path / "answers")
    path = tmp_path / "answers" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bias": 9.0}))
    with pytest.raises(ModelError, match="SG311"):
        load_answers(tmp_path / "answers")
