"""A shadow of several machines on one server: each compares what it serves, the caps hold over all, any promotes."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluicegate.errors import RunError
from sluicegate.evals.promotion import champions
from sluicegate.evals.promotion.gates import Pair
from sluicegate.evals.shadow.judging import judge, promote
from sluicegate.evals.shadow.pairs import PairStore, today
from sluicegate.evals.shadow.shadow import challenger_of
from sluicegate.graphs.config.load import load
from sluicegate.observe.tracing.store import Store
from sluicegate.storage.database import is_there, place
from sluicegate.storage.schemas import SHADOW
from tests.support.operated import shadowed, written
from tests.support.shadowing import registered

Machine = Callable[[str], Path]


@pytest.fixture
def machine(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go on as on the machine of this name; its home."""
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)

    def on(name: str) -> Path:
        home = tmp_path / name
        home.mkdir(exist_ok=True)
        monkeypatch.setenv("SLUICEGATE_HOME", str(home))
        return home

    return on


@pytest.mark.slow
def test_what_one_machine_registered_another_compares_and_a_third_promotes(machine: Machine, tmp_path: Path) -> None:
    first = machine("one")
    champion, challenger, _ = written(tmp_path / "files")
    number = shadowed(champion, challenger, pairs=300)
    # the others have neither its home nor the challenger's file
    shutil.rmtree(first)
    second = machine("two")
    pairs = PairStore()
    (at,) = pairs.all()
    assert at.number == number
    opened, challenge = challenger_of(at)
    assert opened.workflow.digest == at.challenger_digest
    assert opened.workflow.path.is_relative_to(second / "versions")
    del challenge
    for row in range(100):
        worth = {"checks_passed": 1.0}
        pairs.add(
            number,
            Pair(f"c{row}", f"d{row}", today(), worth | {"without_llm": 0.0}, worth | {"without_llm": 1.0}),
            usd=0.0,
        )
    pairs.close()
    third = machine("three")
    pairs, ours = PairStore(), load(champion)
    judged = judge(ours, at, pairs, Store(third / "store.sqlite"))
    assert (judged.decision.verdict, judged.decision.pairs) == ("PROMOTE", 400)
    promote(judged, pairs, by="ops")
    with pytest.raises(RunError) as raised:
        pairs.running(ours.name)
    assert raised.value.code == "SG617"
    machine("two")
    assert champions.history(ours.name)[-1]["digest"] == at.challenger_digest
    pairs.close()


def test_the_caps_of_a_day_hold_over_all_machines(machine: Machine) -> None:
    stores = []
    for name in ("one", "two", "three"):
        machine(name)
        stores.append(PairStore())
    at = registered(stores[0], daily={"pairs": 20})

    def claims(store: PairStore) -> list[str]:
        return [run for run in (f"run-{number}" for number in range(30)) if not store.claim(at, run)]

    with ThreadPoolExecutor() as pool:
        taken = [run for found in pool.map(claims, stores) for run in found]
    assert len(taken) == len({*taken}) == 20
    assert stores[1].in_work(at.number) == 20
    stores[2].count_shed(at.number, {"queue full": 2})
    stores[1].count_shed(at.number, {"queue full": 3, "no process": 1})
    assert stores[0].shed(at.number) == {"queue full": 5, "no process": 1}
    for store in stores:
        store.close()


def test_nothing_is_made_where_there_is_no_shadow(each_place: str, own_home: Path) -> None:
    assert is_there(place(), SHADOW) is (each_place == "server")
    assert not (own_home / "shadow.sqlite").exists()
