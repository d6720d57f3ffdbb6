"""Kernel ridge with every row a landmark: its left-out scores are those of regressions without the row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sluicegate.learning.projection import AXES, Projection, fit_projection
from sluicegate.learning.similarity import fit_kernel, product, similarities
from sluicegate.routing.intent.training import FitCheckpoint

SHARPNESS = 0.7


def data(rows: int, dimensions: int = 24) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, rows)
    found = random.normal(0, 0.4, (rows, dimensions)) + np.eye(dimensions)[label]
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit.astype(np.float32), np.eye(3, dtype=np.float32)[label]


def right(scores: NDArray[np.float32], goal: NDArray[np.float32]) -> float:
    return float((scores.argmax(axis=1) == goal.argmax(axis=1)).mean())


@pytest.mark.slow
def test_left_out_scores_are_those_of_fits_without_the_row() -> None:
    embeddings, goal = data(60)
    found = fit_kernel(embeddings, goal, sharpness=SHARPNESS, penalties=(0.1,), better=right)
    bias = goal.mean(axis=0)
    for row in range(0, 60, 7):
        others = np.arange(60) != row
        kernel = similarities(embeddings[others] @ embeddings[others].T, SHARPNESS)
        weights = np.linalg.solve(kernel + 0.1 * np.eye(59), goal[others] - bias)
        score = similarities(embeddings[row] @ embeddings[others].T, SHARPNESS) @ weights + bias
        assert found.held_out[row] == pytest.approx(score, abs=2e-3)


@pytest.mark.slow
def test_the_penalty_is_the_one_that_is_best_on_rows_left_out() -> None:
    embeddings, goal = data(90)
    each = {
        penalty: fit_kernel(embeddings, goal, sharpness=SHARPNESS, penalties=(penalty,), better=right)
        for penalty in (1e-3, 0.1, 1e3)
    }
    worth = {penalty: right(found.held_out, goal) for penalty, found in each.items()}
    chosen = fit_kernel(embeddings, goal, sharpness=SHARPNESS, penalties=tuple(each), better=right)
    assert worth[chosen.penalty] == max(worth.values())
    assert chosen.held_out == pytest.approx(each[chosen.penalty].held_out)


def test_repeated_rows_do_no_harm() -> None:
    embeddings, goal = data(40)
    found = fit_kernel(
        np.vstack([embeddings] * 3), np.vstack([goal] * 3), sharpness=SHARPNESS, penalties=(0.1,), better=right
    )
    assert np.isfinite(found.weights).all()
    assert right(found.held_out, np.vstack([goal] * 3)) > 0.9


def test_what_all_texts_share_is_taken_off() -> None:
    embeddings, _ = data(50)
    shared = np.full(24, 5.0, np.float32)
    plain, moved = fit_projection(embeddings), fit_projection(embeddings + shared)
    assert moved.axes is None
    assert moved(embeddings + shared) == pytest.approx(plain(embeddings), abs=1e-4)


@pytest.mark.slow
def test_many_rows_with_many_dimensions_are_put_on_their_principal_axes() -> None:
    random = np.random.default_rng(1)
    # all that differs lies in fewer dimensions than are kept
    embeddings = (random.normal(size=(2 * AXES, 40)) @ random.normal(size=(40, AXES + 60))).astype(np.float32)
    projection = fit_projection(embeddings)
    assert projection.axes is not None
    assert projection.axes.shape == (AXES + 60, AXES)
    seen, whole = projection(embeddings), Projection(projection.mean, None)(embeddings)
    assert seen[:50] @ seen[:50].T == pytest.approx(whole[:50] @ whole[:50].T, abs=5e-3)
    assert np.linalg.norm(projection(embeddings[0])) == pytest.approx(1, abs=1e-5)


def test_few_rows_keep_every_dimension() -> None:
    random = np.random.default_rng(2)
    assert fit_projection(random.normal(size=(2 * AXES - 1, AXES + 1)).astype(np.float32)).axes is None


def test_a_piece_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    kept = FitCheckpoint(tmp_path)
    made = kept.get("piece", lambda: {"x": np.arange(3.0)})
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:40])
    assert (kept.get("piece", lambda: {"x": np.arange(3.0)})["x"] == made["x"]).all()


class NoBlas(np.ndarray[Any, Any]):
    """A matrix that cannot be multiplied with ``@``."""

    def __rmatmul__(self, other: Any) -> Any:
        raise AssertionError("a single row went to BLAS")


def test_one_row_is_multiplied_as_many_are_and_not_by_blas() -> None:
    random = np.random.default_rng(5)
    rows, matrix = random.normal(size=(3, 384)).astype(np.float32), random.normal(size=(384, 1779)).astype(np.float32)
    several = product(rows, matrix)
    np.testing.assert_array_equal(several, rows @ matrix)
    with pytest.raises(AssertionError, match="BLAS"):
        product(rows, matrix.view(NoBlas))
    for row, expected in zip(rows, several, strict=True):
        found = product(row, matrix.view(NoBlas))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(product(row[None], matrix.view(NoBlas)), [expected], rtol=1e-4, atol=1e-4)
