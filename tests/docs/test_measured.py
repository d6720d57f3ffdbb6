"""docs/measured.md is rendered from the recorded results, which say how they came about; no other page repeats them."""

import re
import subprocess
import sys
from datetime import date

import pytest

from benchmarks import results
from tests.support import ROOT
from tests.support.pages import page

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"))
FIGURE = re.compile(r"(?<![\d.,])(?:\d+\.\d+ (?:ms|s|µs|KB|%)|0?\.\d{3})(?!\d)")
"""Precise enough to have been measured; round targets and settings are not."""


def test_the_page_is_what_the_command_renders() -> None:
    assert page("docs/measured.md") == results.page(results.recorded())


def test_every_result_says_how_it_came_about() -> None:
    recorded = results.recorded()
    assert len(recorded) > 5
    for name, result in recorded.items():
        assert re.fullmatch(r"[0-9a-f]{7,10}", result["commit"]), name
        assert date.fromisoformat(result["measured"]) >= date(2026, 11, 23), name
        assert re.match(r"\d+ cores", result["machine"]), name
        tool, what = result["command"].split()[:2]
        assert tool == "sluicegate" or (ROOT / what).is_file(), name
        said = f"{result['command']} {result['machine']}"
        assert not re.search(r"/(home|root|tmp|work|Users)/", said), name
        assert all(len(row) == len(one["columns"]) for one in result["tables"] for row in one["rows"]), name


@pytest.mark.parametrize("name", [name for name in PAGES if name != "docs/measured.md"])
def test_no_other_page_repeats_a_measured_figure(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", page(name), flags=re.MULTILINE | re.DOTALL)
    assert set(FIGURE.findall(text)) & set(FIGURE.findall(page("docs/measured.md"))) == set()


def test_links_to_sections_lead_to_one() -> None:
    sections = {
        name: {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", page(name), re.MULTILINE)} for name in PAGES
    }
    for name in PAGES:
        for target, anchor in re.findall(r"\]\(([\w/.-]*\.md)?#([\w-]+)\)", page(name)):
            to = name if not target else target if name == "README.md" else f"docs/{target.removeprefix('docs/')}"
            assert anchor in sections[to], f"{name}: {target}#{anchor}"


@pytest.mark.slow
def test_every_benchmark_can_be_loaded() -> None:
    """In a process of its own: some set the environment."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    script = ";".join(f"import benchmarks.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
