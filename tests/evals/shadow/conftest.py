"""A store of pairs, in the test's home; on a server too in tests that use `each_place`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.evals.shadow.pairs import PairStore


@pytest.fixture
def pairs(own_home: Path) -> Iterator[PairStore]:
    own_home.mkdir(exist_ok=True)
    store = PairStore()
    yield store
    store.close()
