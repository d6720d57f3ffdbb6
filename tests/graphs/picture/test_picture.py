"""Pictures: complete, self-contained, legible, and always the same."""

import itertools
import json
import random
import re
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from sluicegate.errors import RunError
from sluicegate.graphs.picture.arrange import WIDEST
from sluicegate.graphs.picture.layout import LayoutEdge, lay_out
from sluicegate.graphs.picture.picture import mermaid, svg
from sluicegate.graphs.picture.raster import png
from sluicegate.graphs.proofs.flow import Edge, Flow
from tests.support.proof_flows import flow, helpdesk, node

SVG = "{http://www.w3.org/2000/svg}"
TRAIL = [
    {"node": "classify", "branch": {"to": "gate", "condition": ""}},
    {"node": "gate", "branch": {"to": "recall", "condition": "otherwise"}},
    {"node": "recall", "branch": {"to": "facts", "condition": "otherwise"}},
    {"node": "facts", "branch": {"to": "synthesize", "condition": "intent.confidence < router.threshold"}},
    {"node": "synthesize", "branch": {"to": "check", "condition": ""}},
    {"node": "check", "branch": {"to": "respond", "condition": "otherwise"}},
]


def small() -> Flow:
    return flow(
        node("ask", "slm-answer", ("answer.confidence < 0.5 && intent.risk == 'high'", "ask"), "end", max_visits=2),
        node("end", "respond"),
    )


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_what_is_done_for_each_item_hangs_at_its_for_each() -> None:
    drawn = flow(
        replace(node("map", "for-each", "end"), do="each", on_error=Edge("sorry")),
        replace(node("each", "slm-answer", "map"), within="map"),
        node("end", "respond"),
        node("sorry", "refuse"),
    )
    titles = [element.text for element in ET.fromstring(svg(drawn, title="map")).iter(f"{SVG}title")]
    assert {"map to each: each item", "each to map: always", "map to end: always", "map to sorry: on_error"} <= {
        *titles
    }
    text = mermaid(drawn)
    assert ('n0 -->|"each item"| n1' in text, 'n0 -.->|"on_error"| n3' in text, text.count("-.->")) == (True, True, 1)


def test_every_node_and_branch_is_drawn() -> None:
    drawn = helpdesk()
    root = ET.fromstring(svg(drawn, title="helpdesk <3>"))
    assert [group.get("data-node") for group in root.iter(f"{SVG}g") if group.get("data-node")] == list(drawn.nodes)
    edges = [(group.get("data-from"), group.get("data-to")) for group in root.iter(f"{SVG}g") if group.get("data-from")]
    assert sorted(edges) == sorted((each.name, edge.to) for each in drawn.nodes.values() for edge in each.edges)
    tooltips = " ".join(element.text or "" for element in root.iter(f"{SVG}title"))
    for each in drawn.nodes.values():
        assert each.name in texts(root)
        assert any(text.startswith(each.kind) for text in texts(root))
        for edge in each.edges:
            assert edge.condition is None or edge.condition in tooltips
    assert "llm-synthesize · at most 2×" in texts(root)
    assert texts(root)[0] == "helpdesk <3>"


def test_nothing_comes_from_outside() -> None:
    drawn = svg(helpdesk(), title="helpdesk")
    assert "<script" not in drawn
    assert "url(" not in drawn
    assert "@import" not in drawn
    assert "href" not in drawn
    assert drawn.count("http") == 1  # the namespace


def test_the_same_flow_gives_the_same_bytes() -> None:
    assert svg(helpdesk(), title="a") == svg(helpdesk(), title="a")
    assert mermaid(helpdesk()) == mermaid(helpdesk())


@pytest.mark.parametrize("taken", [TRAIL, [step["node"] for step in TRAIL] + ["respond"]])
def test_the_way_that_was_taken_is_marked(taken: list[str]) -> None:
    root = ET.fromstring(svg(helpdesk(), title="a", taken=taken, current="check", notes={"facts": "3 passages"}))
    groups = [group for group in root.iter(f"{SVG}g") if "sg-taken" in group.get("class", "").split()]
    edges = {(group.get("data-from"), group.get("data-to")) for group in groups if group.get("data-from")}
    assert edges == {
        ("classify", "gate"),
        ("gate", "recall"),
        ("recall", "facts"),
        ("facts", "synthesize"),
        ("synthesize", "check"),
        ("check", "respond"),
    }
    nodes = {group.get("data-node") for group in groups if group.get("data-node")}
    assert {"classify", "check"} <= nodes
    assert "approve" not in nodes
    current = [group for group in root.iter(f"{SVG}g") if "sg-current" in group.get("class", "").split()]
    assert [group.get("data-node") for group in current] == ["check"]
    assert "3 passages" in texts(root)


def test_a_trail_tells_branches_to_the_same_node_apart() -> None:
    root = ET.fromstring(svg(helpdesk(), title="a", taken=TRAIL))
    [title] = [
        group.findtext(f"{SVG}title")
        for group in root.iter(f"{SVG}g")
        if "sg-taken" in group.get("class", "").split() and group.get("data-from") == "facts"
    ]
    assert title == "facts to synthesize: intent.confidence < router.threshold"


def rectangles(root: ET.Element) -> list[tuple[float, float, float, float]]:
    found = []
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("class") in ("sg-box", "sg-label") and rect.get("width") != "18":
            x, y, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


def test_no_box_or_label_lies_on_another() -> None:
    found = rectangles(ET.fromstring(svg(helpdesk(), title="a")))
    assert len(found) == 11 + 15
    for one, other in itertools.combinations(found, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@st.composite
def drawings(draw: st.DrawFn) -> tuple[dict[str, tuple[float, float]], list[LayoutEdge]]:
    names = [f"n{index}" for index in range(draw(st.integers(1, 12)))]
    sizes = {name: (draw(st.floats(60, 260)), draw(st.floats(40, 80))) for name in names}
    pairs = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=24))
    return sizes, [LayoutEdge(source, target, 80.0, 21.0) for source, target in pairs]


@pytest.mark.slow
@settings(max_examples=150)
@given(drawings())
def test_any_graph_is_laid_out_without_overlap(
    drawing: tuple[dict[str, tuple[float, float]], list[LayoutEdge]],
) -> None:
    sizes, links = drawing
    layout = lay_out(sizes, links, "n0")
    assert set(layout.boxes) == set(sizes)
    assert len(layout.routes) == len(links)
    areas = [(box.x, box.y, box.width, box.height) for box in layout.boxes.values()]
    areas += [
        (*route.label, 80.0, 21.0)
        for route, link in zip(layout.routes, links, strict=True)
        if link.source != link.target
    ]
    for (x, y, width, height), (x2, y2, width2, height2) in itertools.combinations(areas, 2):
        apart = max(abs(x - x2) - (width + width2) / 2, abs(y - y2) - (height + height2) / 2)
        assert apart > -0.01
    for route, link in zip(layout.routes, links, strict=True):
        for end, name in ((route.points[0], link.source), (route.points[-1], link.target)):
            box = layout.boxes[name]
            assert abs(end[0] - box.x) <= box.width / 2 + 0.01
            assert abs(end[1] - box.y) <= box.height / 2 + 0.01


def test_arrows_point_at_their_targets() -> None:
    root = ET.fromstring(svg(helpdesk(), title="a"))
    boxes = {
        group.get("data-node"): group.find(f"{SVG}rect") for group in root.iter(f"{SVG}g") if group.get("data-node")
    }
    for group in root.iter(f"{SVG}g"):
        if group.get("data-from") is None:
            continue
        arrow = next(path.get("d", "") for path in group.iter(f"{SVG}path") if path.get("class") == "sg-arrow")
        tip, turned = arrow.removeprefix("M").split("l")
        box = boxes[group.get("data-to")]
        assert box is not None
        up = (group.get("data-from"), group.get("data-to")) == ("check", "synthesize")
        rim = float(box.get("y", "")) + (float(box.get("height", "")) if up else 0)
        assert abs(float(tip.split()[1]) - rim) < 0.2
        assert turned.startswith("-4.5 8" if up else "-4.5 -8")


def large(nodes: int, seed: int) -> Flow:
    """A workflow as they grow: mostly on to one of the next steps, now and then far ahead, back, or to the end."""
    chance = random.Random(seed)
    conditions = ("intent.risk == 'high'", "checks.failed", "policy.verdict == 'deny' || request.size > 4000")
    steps = [f"step-{index}" for index in range(nodes - 1)]
    made = [
        node(
            name,
            chance.choice(["classify", "retrieve", "slm-answer", "output-check", "call-tool", "human-interrupt"]),
            *((when, chance.choice([*steps[index + 1 : index + 5], chance.choice(steps)])) for when in conditions),
            steps[index + 1] if index + 2 < nodes and chance.random() < 0.8 else "respond",
        )
        for index, name in enumerate(steps)
    ]
    return flow(*made, node("respond", "respond"))


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [26, 65, 200])
def test_a_large_workflow_is_drawn_in_bands_of_a_bounded_width(nodes: int) -> None:
    drawn = large(nodes, nodes)
    root = ET.fromstring(svg(drawn, title="large"))
    assert float(root.get("width", "")) < WIDEST + 300  # the last branches of a band and their references
    assert [group.get("data-node") for group in root.iter(f"{SVG}g") if group.get("data-node")] == list(drawn.nodes)
    edges = [(group.get("data-from"), group.get("data-to")) for group in root.iter(f"{SVG}g") if group.get("data-from")]
    assert sorted(edges) == sorted((each.name, edge.to) for each in drawn.nodes.values() for edge in each.edges)
    found = sorted(rectangles(root))
    for index, one in enumerate(found):
        for other in itertools.takewhile(lambda other, one=one: other[0] < one[2], found[index + 1 :]):
            assert one[3] <= other[1] or other[3] <= one[1]


def test_a_chain_is_as_wide_as_a_band() -> None:
    steps = [node(f"step-{index}", "retrieve", f"step-{index + 1}") for index in range(80)]
    root = ET.fromstring(svg(flow(*steps, node("step-80", "respond")), title="chain"))
    assert float(root.get("width", "")) < WIDEST + 300
    # every band but the last leads on by a reference
    bands = sum(path.get("class") == "sg-band" for path in root.iter(f"{SVG}path"))
    assert bands == sum(group.get("class", "").startswith("sg-node sg-reference") for group in root.iter(f"{SVG}g")) > 5


def test_an_arrow_to_a_node_that_is_drawn_elsewhere_ends_at_its_name() -> None:
    fan = [node(f"topic-{index}", "slm-answer", "respond") for index in range(28)]
    branches = [(f"intent.label == 't{index}'", f"topic-{index}") for index in range(28)]
    drawn = flow(node("classify", "classify", *branches, "respond"), *fan, node("respond", "respond"))
    root = ET.fromstring(svg(drawn, title="fan"))
    references = [group for group in root.iter(f"{SVG}g") if "sg-reference" in group.get("class", "").split()]
    assert [group.findtext(f"{SVG}text") for group in references] == ["→ respond"] * 29


@pytest.mark.slow
def test_png_has_twice_the_size_of_the_picture_and_its_text() -> None:
    drawn = svg(small(), title="small")
    width, height = (float(ET.fromstring(drawn).get(name, "")) for name in ("width", "height"))
    picture = png(drawn)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert [round(2 * width), round(2 * height)] == pytest.approx(struct.unpack(">II", picture[16:24]), abs=1)
    # names are drawn: the same picture without them has fewer bytes
    assert len(picture) > len(png(re.sub(r"<text.*?</text>", "", drawn))) + 1000


def test_png_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(RunError, match="needs the package resvg_py") as raised:
        png("<svg/>")
    assert raised.value.code == "SG633"
    assert "sluicegate[png]" in str(raised.value.hint)


def test_small_flow(snapshot: SnapshotAssertion) -> None:
    assert svg(small(), title="small") == snapshot
    assert mermaid(small(), taken=["ask", "end"], current="end") == snapshot


def test_mermaid_escapes_what_it_would_read() -> None:
    drawn = mermaid(small())
    assert "answer.confidence #60; 0.5 #38;#38; intent.risk == 'high'" in drawn
    assert drawn.startswith("flowchart TD\n")


# typer imports a name that its newest click announces to remove
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from sluicegate.cli.graph import app
    from sluicegate.graphs.config import load

    workflow = SimpleNamespace(name="helpdesk", version="3", flow=helpdesk())
    monkeypatch.setattr(load, "load", lambda path: workflow)
    run = CliRunner()
    shown = run.invoke(app, ["workflow.yaml"])
    assert shown.exit_code == 0
    assert shown.stdout == svg(helpdesk(), title="helpdesk, version 3")
    out = tmp_path / "graph.mmd"
    told = run.invoke(app, ["workflow.yaml", "--format", "mermaid", "--out", str(out), "--json"])
    assert json.loads(told.stdout)["file"] == str(out)
    assert json.loads(told.stdout)["nodes"][0]["branches"] == [{"to": "gate", "when": None}]
    assert out.read_text(encoding="utf-8") == mermaid(helpdesk())
    assert run.invoke(app, ["workflow.yaml", "--out", str(tmp_path / "graph.md")]).exit_code == 0
    assert (tmp_path / "graph.md").read_text(encoding="utf-8") == mermaid(helpdesk())
    assert run.invoke(app, ["workflow.yaml", "--out", str(tmp_path / "graph.png")]).exit_code == 0
    assert (tmp_path / "graph.png").read_bytes() == png(svg(helpdesk(), title="helpdesk, version 3"))
    assert run.invoke(app, ["workflow.yaml", "--format", "png"]).exit_code == 2, "a PNG is nothing for a terminal"
    assert run.invoke(app, ["workflow.yaml", "--out", str(tmp_path / "graph.gif")]).exit_code == 2
    assert not (tmp_path / "graph.gif").exists()
    failed = run.invoke(app, ["workflow.yaml", "--out", str(tmp_path / "no" / "folder.svg")])
    assert getattr(failed.exception, "code", "") == "SG607"
