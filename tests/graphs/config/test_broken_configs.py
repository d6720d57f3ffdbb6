"""Error texts: each broken config's problems, word for word."""

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from sluicegate.errors import ConfigError
from sluicegate.graphs.config.check import as_text, check
from sluicegate.graphs.config.load import inspect, load

HERE = Path(__file__).parent
BROKEN = sorted(path.stem for path in (HERE / "broken").glob("*.yaml"))


@pytest.mark.parametrize("name", BROKEN)
def test_problems_read_as_written(name: str, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    report = check(Path("broken", f"{name}.yaml"))
    assert report.workflow is None
    assert as_text(report).plain == snapshot


@pytest.mark.parametrize("name", BROKEN)
def test_every_problem_has_a_place_and_they_stand_in_file_order(name: str) -> None:
    workflow, problems = inspect(HERE / "broken" / f"{name}.yaml")
    assert workflow is None
    assert problems
    assert all(problem.place for problem in problems)
    own = [p.place for p in problems if p.place and p.place.file == str(HERE / "broken" / f"{name}.yaml")]
    assert own == sorted(own, key=lambda place: (place.line, place.column))


def test_load_raises_all_of_them() -> None:
    path = HERE / "broken" / "references.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [*caught.value.problems] == inspect(path)[1]
    assert len(caught.value.problems) > 15
