"""The plots: well-formed, within their frame, every mark explained, in the right place."""

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from sluicegate.evals.promotion.sequences import Bounds, difference_sequence
from sluicegate.evals.report.figures import Point, cost_quality_plot, forest_plot, sequence_plot

NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    """The plot, after a look at every coordinate."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for mark in root.iter():
        for key, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y1", height),
                          ("y2", height), ("cy", height)):  # fmt: skip
            if key in mark.attrib:
                assert 0 <= float(mark.attrib[key]) <= most, (mark.tag, mark.attrib)
        for point in mark.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    return root


@pytest.mark.parametrize("costs", [(0.09, 0.0, 0.3), (0.0, 0.0, 0.0)], ids=["costs", "free"])
def test_cost_and_quality(costs: tuple[float, float, float]) -> None:
    points = [
        Point("workflow", costs[0], 0.85, 0.76, 0.92),
        Point("all-slm", costs[1], 0.8, 0.7, 0.9),
        Point("all-llm", costs[2], 1.0, 0.95, 1.0),
    ]
    circles = list(drawn(cost_quality_plot(points, cost="$", quality="right")).iter(f"{NAMESPACE}circle"))
    by_quality = sorted(circles, key=lambda circle: float(circle.attrib["cy"]))
    assert "all-llm" in (by_quality[0].findtext(f"{NAMESPACE}title") or "")
    if any(costs):
        right = max(circles, key=lambda circle: float(circle.attrib["cx"]))
        assert "all-llm" in (right.findtext(f"{NAMESPACE}title") or "")


def test_names_of_points_do_not_lie_on_each_other() -> None:
    points = [Point(name, 0.1 + number / 1000, 0.95, 0.9, 1.0) for number, name in enumerate(("one", "two", "three"))]
    svg = drawn(cost_quality_plot(points, cost="$", quality="right"))
    texts = [text for text in svg.iter(f"{NAMESPACE}text") if text.text in ("one", "two", "three", "right")]
    heights = sorted(float(text.attrib["y"]) for text in texts)
    assert all(below - above >= 12 for above, below in itertools.pairwise(heights))


def test_forest_tells_passed_from_failed() -> None:
    rows = [
        ("good", Bounds(0.1, 0.05, 0.15, 500), 0.0),
        ("bad <b>", Bounds(-0.2, -0.25, -0.15, 500), -0.05),
        ("open", Bounds(0.0, -1.0, 1.0, 3), -0.05),
    ]
    marks = list(drawn(forest_plot(rows, title="forest")).iter(f"{NAMESPACE}rect"))
    assert len({mark.attrib["fill"] for mark in marks}) == 3
    assert float(marks[0].attrib["x"]) > float(marks[2].attrib["x"]) > float(marks[1].attrib["x"])


def test_sequence_narrows() -> None:
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 3000, p=[0.1, 0.8, 0.1])
    steps = difference_sequence(values, 0.05)
    drawn(sequence_plot(steps, -0.05, title="sequence"))
    assert steps[-1].high - steps[-1].low < steps[0].high - steps[0].low
    drawn(sequence_plot(steps[:1], -0.05, title="one step"))
    assert sequence_plot([], -0.05, title="nothing") == ""
