import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import ModelError
from sluicegate.learning.artifact import write_folder
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.answers.answer import ANY, FEATURES, UNFITTED, features_of, folder_of, load_answers, load_fit
from sluicegate.routing.answers.fit import AnswerTarget, Graded, by_origin, fit_answers, read_graded
from sluicegate.routing.answers.report import report_answers
from sluicegate.services import AnswerFeatures, Completion, TokenLogprob
from tests.support.made_rows import SOURCE, graded

LOOSE = AnswerTarget(error=0.3, confidence=0.95)
UNPROVED = AnswerTarget(error=0.3, confidence=0.95, needed=False)


def evidence(text: str, logprob: float | None = -0.1, finish: Any = "stop", **more: Any) -> AnswerFeatures:
    tokens = () if logprob is None else tuple(TokenLogprob(word, logprob) for word in text.split())
    completion = Completion(text, "m", "m", 1, 1, finish, 1.0, 0.0, logprobs=tokens)
    return AnswerFeatures(completion, text, more.pop("question", "How do I restart the router?"), [SOURCE], **more)


def test_without_a_fit_answers_are_ordered_and_none_is_sure_enough() -> None:
    sure = load_answers(None)
    assert sure(evidence("Hold the power button for ten seconds [1].")).threshold == NEVER
    good = sure(evidence("Hold the power button for ten seconds [1].")).confidence
    assert good > 0.8
    assert sure(evidence("Call the moon and order seventeen elephants.")).confidence < 0.4
    assert sure(evidence("Hold the power button for ten seconds [1].", -3.0)).confidence < 0.5
    assert sure(evidence("Hold the power button for ten seconds [1].", finish="length")).confidence < good
    assert 0.5 < sure(evidence("Hold the power button for ten seconds [1].", None)).confidence < good
    assert sure(evidence("  ")).confidence == 0.0


def test_without_a_fit_a_quotation_is_as_sure_as_its_nearest_sentence_is_similar() -> None:
    assert UNFITTED(evidence(SOURCE, similarity=0.63)).confidence == 0.63
    assert UNFITTED(evidence(SOURCE, similarity=-0.2)).confidence == 0.0


def test_the_features_of_a_quotation_leave_out_the_digits_it_was_chosen_by() -> None:
    found = features_of(evidence(SOURCE, -2.0, similarity=0.6, margin=0.2, retrieval=(0.4, 0.5)))
    assert tuple(found) == FEATURES
    assert (found["mean_logprob"], found["has_logprobs"], found["quoted"]) == (0.0, 0.0, 1.0)
    assert (found["similarity"], found["margin"], found["retrieval"]) == (0.6, 0.2, 0.5)
    assert found["overlap"] == 1.0  # restart and router; "restarts" has the same stem
    assert features_of(evidence(SOURCE, question="?"))["overlap"] == 0.0


@pytest.mark.slow
def test_a_fit_is_calibrated_and_proves_its_threshold_on_answers_held_apart(tmp_path: Path) -> None:
    train, apart = read_graded(graded(300, 0)), read_graded(graded(300, 1))
    card = fit_answers(train, apart, target=LOOSE, digests={"rows": "0"}, out=tmp_path / "answers")
    assert card["rows"] == {"train": 300, "proof": 300}
    assert card["metrics"]["auroc"] > 0.8
    assert card["metrics"]["ece"] < 0.08
    assert card["threshold"]["proved"]
    assert card["threshold"]["bound"] <= 0.3
    # half of the answers are grounded, and only those are right often enough
    assert 0.4 < card["metrics"]["coverage"] < 0.8
    assert load_fit(tmp_path / "answers").hash == card["hash"]
    fitted = load_answers(tmp_path / "answers")
    good, bad = evidence("Hold the power button.", -0.5), evidence("Invent something entirely different instead.", -0.5)
    assert fitted(good).confidence == pytest.approx(0.9, abs=0.06)
    assert fitted(bad).confidence == pytest.approx(0.1, abs=0.06)
    assert fitted(good).confidence >= fitted(good).threshold == card["threshold"]["value"]


@pytest.mark.slow
def test_the_bound_holds_at_its_rate(tmp_path: Path) -> None:
    """Whatever is accepted is wrong 13 % of the time: to promise 12 % is wrong, and may happen in a tenth of draws."""
    train = read_graded(graded(200, 0, noise=0.13))
    target = AnswerTarget(error=0.12, confidence=0.9, needed=False)
    promised = 0
    for seed in range(20):
        apart = read_graded(graded(120, seed + 1, noise=0.13))
        card = fit_answers(train, apart, target=target, digests={}, out=tmp_path / "answers")
        promised += card["threshold"]["proved"]
    assert promised <= 6


@pytest.mark.slow
def test_a_target_that_the_answers_cannot_support_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    rows = read_graded(graded(120, 0))
    target = AnswerTarget(error=0.02, confidence=0.95)
    with pytest.raises(ModelError, match=r"SG313 no threshold reaches the 2% error target") as e:
        fit_answers(rows, target=target, digests={}, out=tmp_path / "answers")
    assert (
        e.value.hint
        == "Allow more error, or improve the answers; a proof needs at least 149 confident and correct ones"
    )
    assert not (tmp_path / "answers").exists()
    card = fit_answers(
        rows, target=AnswerTarget(0.02, 0.95, needed=False), digests={}, out=tmp_path / "answers"
    )  # fmt: skip
    assert not card["threshold"]["proved"]
    assert load_fit(tmp_path / "answers").threshold == NEVER


@pytest.mark.slow
def test_more_rows_are_asked_for_where_more_would_do(tmp_path: Path) -> None:
    rows = read_graded(graded(100, 0, noise=0.05))
    with pytest.raises(ModelError, match="SG313") as e:
        fit_answers(rows, target=AnswerTarget(0.1, 0.99), digests={}, out=tmp_path / "answers")
    assert e.value.hint
    assert "held-out answers of the highest confidence would suffice" in e.value.hint


def test_too_few_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SG313 10 graded answers to fit on"):
        fit_answers(read_graded(graded(20, 0)), target=LOOSE, digests={}, out=tmp_path / "answers")
    with pytest.raises(ModelError, match="SG313 row 1: a graded answer has text, sources and right"):
        read_graded([{"text": "x"}])
    with pytest.raises(ModelError, match="SG310"):
        load_answers(tmp_path / "absent")


@pytest.mark.slow
def test_an_edited_fit_is_refused(tmp_path: Path) -> None:
    fit_answers(read_graded(graded(200, 0)), target=LOOSE, digests={}, out=tmp_path / "answers")
    path = tmp_path / "answers" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bias": 9.0}))
    with pytest.raises(ModelError, match="SG311"):
        load_answers(tmp_path / "answers")


def of(model: str, given: AnswerFeatures) -> AnswerFeatures:
    return replace(given, completion=replace(given.completion, model=model))


@pytest.mark.slow
def test_each_model_and_style_has_its_own_fit_and_none_is_borrowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second model whose grounded answers are the wrong ones, and the first one's quotations."""
    out = tmp_path / "answers"
    wrong = [{**row, "model": "other:9b", "right": not row["right"]} for row in graded(200, 0)]
    for rows in (graded(200, 0), wrong):
        own = read_graded(rows)
        fit_answers(own, target=UNPROVED, digests={}, out=out / folder_of(own[0].origin))
    sure, grounded = load_answers(out), evidence("Hold the power button.", -0.5)
    assert sure(of("m", grounded)).confidence > 0.8 > 0.2 > sure(of("other:9b", grounded)).confidence
    assert sure(of("m", grounded)).threshold == load_fit(out / "m+write").threshold < 1
    assert caplog.messages == []
    for stranger in (of("third:1b", grounded), of("m", replace(grounded, similarity=0.9))):
        assert sure(stranger).threshold == NEVER
        assert sure(stranger) == UNFITTED(stranger)
    assert [message.partition(" style ")[0] for message in caplog.messages] == [
        "SG310 no confidence was fitted to answers of third:1b in",
        "SG310 no confidence was fitted to answers of m in",
    ]
    assert "sluicegate router fit WORKFLOW --task answer" in caplog.text


@pytest.mark.slow
def test_what_stands_whatever_a_model_picked_is_judged_alone_and_alike_for_all_models(tmp_path: Path) -> None:
    out = tmp_path / "answers"
    own = [replace(row, model=ANY, features={**row.features, "quoted": 1.0}) for row in read_graded(graded(200, 0))]
    fit_answers(own, target=UNPROVED, digests={}, out=out / folder_of(own[0].origin))
    sure, least = load_answers(out), "Hold the power button."
    quoted = evidence(least, None, similarity=0.9, floor=least)
    more = replace(quoted, text=f"{least} Invent something entirely different instead.")
    assert sure(of("third:1b", quoted)) == sure(of("m", more))
    assert sure(more).threshold == load_fit(out / "any+quote").threshold < 1
    # where the model picked all of it, the fit says nothing
    assert sure(replace(more, floor="")).threshold == NEVER
    # and a fit for the model's own quotations comes first
    fit_answers([replace(row, model="m") for row in own], target=UNPROVED, digests={"m": "0"}, out=out / "m+quote")
    assert load_answers(out)(of("n", quoted)).threshold == sure(quoted).threshold
    assert load_fit(out / "any+quote").judges(("m", "quote"))
    assert not load_fit(out / "m+quote").judges(("n", "quote"))


@pytest.mark.slow
def test_an_artifact_of_an_earlier_release_serves_its_models_in_both_styles(tmp_path: Path) -> None:
    out = tmp_path / "answers"
    card = fit_answers(read_graded(graded(200, 0)), target=LOOSE, digests={}, out=out)
    with np.load(out / "weights.npz") as stored:
        arrays = dict(stored)
    old = {key: value for key, value in card.items() if key not in ("style", "hash")}
    write_folder(out, {**old, "models": ["m", "n"]}, arrays)
    sure, grounded = load_answers(out), evidence("Hold the power button.", -0.5)
    for given in (grounded, of("n", grounded), of("n", replace(grounded, similarity=0.9))):
        assert sure(given).threshold == card["threshold"]["value"]
    assert sure(of("other:9b", grounded)).threshold == NEVER


@pytest.mark.slow
def test_fits_that_compare_questions_by_different_embedders_are_refused(tmp_path: Path) -> None:
    for model, print_ in (("m", "2:1,0"), ("n", "2:0,1")):
        rows = [replace(row, model=model) for row in asked(200, 0)]
        embedder = {**EMBEDDER, "fingerprint": print_}
        fit_answers(rows, target=UNPROVED, digests={}, out=tmp_path / "answers" / model, embedder=embedder)
    with pytest.raises(ModelError, match="SG312 the fits of confidence in answers use different embedders"):
        load_answers(tmp_path / "answers")


def test_rows_that_do_not_name_their_model_are_refused() -> None:
    with pytest.raises(ModelError, match="SG313 2 of 2 graded answers do not say which model answered"):
        by_origin(read_graded([{**row, "model": ""} for row in graded(2, 0)]))


@pytest.mark.slow
def test_files_of_graded_answers_fit_and_are_reported(tmp_path: Path) -> None:
    paths: list[str] = []
    for number in range(3):
        paths.append(str(tmp_path / f"{number}.jsonl"))
        Path(paths[-1]).write_text("".join(json.dumps(row) + "\n" for row in graded(200, number)))
    other = "".join(json.dumps({**row, "model": "other:9b"}) + "\n" for row in graded(120, 3))
    few = json.dumps({**graded(1, 4)[0], "model": "few:1b"}) + "\n"
    Path(paths[0]).write_text(Path(paths[0]).read_text() + other + few)
    Path(paths[1]).write_text(Path(paths[1]).read_text() + other)
    out = tmp_path / "answers"
    given = ["router", "fit", paths[0], "--calibration", paths[1], "--task", "answer", "--error", "0.3"]
    ran = CliRunner().invoke(app, [*given, "--out", str(out), "--json"], catch_exceptions=False)
    found = {(each["model"], each["style"]): each for each in json.loads(ran.stdout)}
    assert set(found) == {("m", "write"), ("other:9b", "write")}
    assert "few:1b write: no fit, as only 1 answers of it were graded" in ran.stderr
    assert found["m", "write"]["accepted_error_bound"] <= 0.3
    page = tmp_path / "report.html"
    given = ["router", "report", str(out / "m+write"), "--data", paths[2], "--html", str(page), "--json"]
    report = json.loads(CliRunner().invoke(app, given, catch_exceptions=False).stdout)
    assert (report["rows"], report["left_out"]) == (200, 0)
    assert report["accepted_accuracy"] > 0.7
    assert report["ece"] < 0.1
    assert {"coverage", "threshold", "auroc", "accepted_error_bound"} <= report.keys()
    assert "<svg" in page.read_text()
    strange = CliRunner().invoke(app, ["router", "report", str(out / "other%3A9b+write"), "--data", paths[2], "--json"])
    assert "SG313 none of the 200 answers is of other:9b in style 'write'" in str(strange.exception)


EMBEDDER = {"model": "fake:embedder", "fingerprint": "2:1,0"}


def asked(count: int, seed: int, *, told: bool = True) -> list[Graded]:
    """Answers whose features say nothing. Of questions of one kind nineteen in twenty have a document, whose answer
    is found nine times in ten; of the other kind one in twenty."""
    random = np.random.default_rng(seed)
    rows: list[Graded] = []
    for _ in range(count):
        kind = int(random.integers(2))
        known = bool(random.uniform() < (0.95, 0.05)[kind])
        right = known and bool(random.uniform() < 0.9)
        angle = kind * np.pi / 2 + random.normal(0, 0.2)
        features = {**dict.fromkeys(FEATURES, 0.0), "quoted": 1.0, "similarity": float(random.uniform())}
        vector = (float(np.cos(angle)), float(np.sin(angle)))
        rows.append(Graded(features, right, "m", known=known if told else None, vector=vector))
    return rows


@pytest.mark.slow
def test_questions_like_this_one_tell_what_the_answer_does_not(tmp_path: Path) -> None:
    train, apart = asked(300, 0), asked(300, 1)
    card = fit_answers(train, apart, target=LOOSE, digests={}, out=tmp_path / "answers", embedder=EMBEDDER)
    assert card["metrics"]["auroc"] > 0.75
    assert card["answerability"]["auroc"] > 0.85
    assert card["answerability"]["ece"] < 0.08
    assert card["answerability"]["rows"] == {"train": 300, "measured": 300}
    blind = fit_answers(train, apart, target=AnswerTarget(0.3, 0.95, needed=False), digests={}, out=tmp_path / "blind")
    assert blind["metrics"]["auroc"] < 0.6
    assert load_answers(tmp_path / "blind").like == ""
    fitted = load_answers(tmp_path / "answers")
    assert fitted.like == EMBEDDER["fingerprint"]
    said = [fitted(evidence("Hold it.", similarity=0.5, vector=vector)) for vector in ((1.0, 0.0), (0.0, 1.0))]
    assert [one.answerability for one in said] == pytest.approx([0.95, 0.05], abs=0.05)
    assert [one.confidence for one in said] == pytest.approx([0.855, 0.045], abs=0.05)
    assert said[0].features["alike_known"] > 0.8 > 0.2 > said[1].features["alike_known"]
    report = report_answers(load_fit(tmp_path / "answers"), apart)
    assert report["auroc"] == pytest.approx(card["metrics"]["auroc"], abs=0.01)  # vectors are kept in half precision
    assert report["answerability"]["auroc"] == pytest.approx(card["answerability"]["auroc"], abs=0.01)


@pytest.mark.slow
def test_without_rows_that_tell_whether_a_document_has_it_answerability_is_the_confidence(tmp_path: Path) -> None:
    told = {"target": LOOSE, "digests": {}, "out": tmp_path / "answers", "embedder": EMBEDDER}
    card = fit_answers(asked(300, 0, told=False), asked(300, 1, told=False), **told)
    assert card["answerability"] is None
    said = load_answers(tmp_path / "answers")(evidence("Hold it.", vector=(1.0, 0.0)))
    assert said.answerability == said.confidence
    assert report_answers(load_fit(tmp_path / "answers"), asked(20, 2))["answerability"] is None


@pytest.mark.slow
def test_files_with_questions_are_compared_by_the_embedder(tmp_path: Path) -> None:
    topics = (("printer", "Which printer prints {}?"), ("holiday", "How much holiday do I get in {}?"))
    rows = [
        {**row, "question": topics[number % 2][1].format(number), "known": number % 2 == 0, "right": number % 2 == 0}
        for number, row in enumerate(graded(240, 0))
    ]
    for name, part in (("train", rows[::2] + rows[1::4]), ("apart", rows[3::4] + rows[:60]), ("bare", graded(20, 1))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    out = str(tmp_path / "answers")
    given = ["router", "fit", str(tmp_path / "train.jsonl"), "--calibration", str(tmp_path / "apart.jsonl")]
    ran = CliRunner().invoke(app, [*given, "--task", "answer", "--error", "0.3", "--out", out], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert load_fit(Path(out) / "m+write").alike is not None
    reported = ["router", "report", f"{out}/m+write"]
    report = CliRunner().invoke(app, [*reported, "--data", str(tmp_path / "apart.jsonl"), "--json"])
    assert json.loads(report.stdout)["auroc"] == 1.0
    refused = CliRunner().invoke(app, [*reported, "--data", str(tmp_path / "bare.jsonl")])
    assert refused.exit_code != 0
    assert "20 of 20 rows have no question" in str(refused.exception or refused.output)
    none = [*given, "--task", "answer", "--error", "0.3", "--embedder", "none", "--out", str(tmp_path / "plain")]
    CliRunner().invoke(app, [*none, "--without-threshold"], catch_exceptions=False)
    assert load_fit(tmp_path / "plain" / "m+write").alike is None
