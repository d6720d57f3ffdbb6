"""What was spent, by the day, as each person may see it; caps with alerts; the picture and the table say the same."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.home import home
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.store import Store
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import Cap, SqliteLedger
from sluicegate.services import Reservation
from sluicegate.serving.http.console.pages.records.bars import stacked_bars
from sluicegate.serving.records.costs import CapUse
from tests.support import stand
from tests.support.console_runs import OPERATOR
from tests.support.recorded_runs import begin, end
from tests.support.stand import served, service

NAME = "shadow-evaluation"
BUDGET = BudgetConfig(per_day_usd=1.0, per_month_usd=100.0, per_principal_day_usd=0.5)


def capped(source: Path | Workflow) -> Opened:
    opened = stand.version(source)
    config = opened.workflow.config.model_copy(update={"budget": BUDGET})
    object.__setattr__(opened.workflow, "config", config)
    return opened


def ago(days: int) -> int:
    """A time, in nanoseconds."""
    return int((datetime.now(UTC) - timedelta(days=days)).timestamp()) * 10**9


@pytest.fixture(scope="module")
def client(own_home: Path) -> Iterator[httpx.Client]:
    with served(service(open_version=capped)) as client:
        with closing(Store(home() / "store.sqlite")) as store:
            for number, (user, path, usd, age) in enumerate(
                [
                    ("ann", "rag-llm", 0.25, 0),
                    ("ann", "cache", 0.0, 0),
                    ("ben", "rag-llm", 0.5, 2),
                    ("ben", None, 0.1, 0),
                ]
            ):
                info = begin(store, f"{number:024x}", at_ns=ago(age), user=Masking().user(user), workflow=NAME)
                end(store, info, usd=usd, prompt_tokens=1000, **({"path": path} if path else {}))
            begin(store, "f" * 24, at_ns=ago(0), workflow="of-another-server")
        yield client


async def spend(principal: str, usd: float, *, model: str = "openai:m", held: bool = False) -> None:
    with closing(SqliteLedger(BUDGET)) as ledger:
        made = await ledger.reserve(
            run="r", principal=principal, intent="question", workflow=NAME, model=model, usd=usd, tokens=10
        )
        assert isinstance(made, Reservation), made
        if not held:
            await ledger.settle(made, usd=usd, tokens=10)


def table(page: httpx.Response, number: int = 0) -> list[list[str]]:
    """The rows of a table, without its headings."""
    assert page.status_code == 200, page.text
    (_, *tables) = page.text.split("<table")
    rows = re.findall(r"<tr>(.*?)</tr>", tables[number], re.DOTALL)
    return [
        [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in rows
    ]


def today(age: int = 0) -> str:
    return str(datetime.now(UTC).date() - timedelta(days=age))


def test_dollars_and_tokens_by_the_day_and_path_of_what_one_may_see(client: httpx.Client) -> None:
    assert table(client.get("/console/costs", headers=OPERATOR)) == [
        ["Day", "rag-llm", "none", "cache", "All"],
        [today(), "$0.25", "$0.10", "$0.00", "$0.35"],
        [today(2), "$0.50", "$0.00", "$0.00", "$0.50"],
        ["All", "$0.75", "$0.10", "$0.00", "$0.85"],
    ]
    assert table(client.get("/console/costs?what=tokens", headers={"x-user": "ann"})) == [
        ["Day", "rag-llm", "cache", "All"],
        [today(), "1,000", "1,000", "2,000"],
        ["All", "1,000", "1,000", "2,000"],
    ]
    assert table(client.get("/console/costs?by=workflow&days=7", headers=OPERATOR))[-1] == ["All", "$0.85", "$0.85"]
    page = client.get("/console/costs?by=nothing&days=-1&what=%00", headers={"x-user": "nobody"})
    assert ("Nothing was spent" in page.text, "There is no cap of yours" in page.text) == (True, True)


async def test_models_and_caps_with_alerts_at_eighty_and_a_hundred_percent(client: httpx.Client) -> None:
    await spend("ann", 0.4)
    await spend("ben", 0.3, model="openai:n")
    by_model = client.get("/console/costs?by=model", headers=OPERATOR)
    assert table(by_model)[1] == [today(), "$0.40", "$0.30", "$0.70"]
    assert table(client.get("/console/costs?by=model", headers={"x-user": "ann"}))[1] == [today(), "$0.40", "$0.40"]
    assert 'class="note' not in by_model.text
    caps = {row[0]: row[3:] for row in table(by_model, 1)[1:]}
    assert caps["per_day_usd"] == ["$1.00", "$0.70", "$0.00", "$0.30", "70 %"]
    # of persons, only their own
    assert "per_principal_day_usd" not in caps
    own = client.get("/console/costs?by=model", headers={"x-user": "ann"})
    assert [row[0::2] for row in table(own, 1)[1:]] == [["per_principal_day_usd", "ann", "$0.40", "$0.10"]]
    assert "per_principal_day_usd</code> of ann is 80 % used" in own.text
    await spend("kim", 0.1, held=True)
    near = client.get("/console/costs", headers=OPERATOR)
    assert "<code>per_day_usd</code> is 80 % used." in near.text
    assert {row[0]: row[5] for row in table(near, 1)}["per_day_usd"] == "$0.10", "what is reserved counts"
    await spend("lea", 0.2)
    reached = client.get("/console/costs", headers=OPERATOR)
    assert "<code>per_day_usd</code> is used up; calls that count towards it are refused." in reached.text


@pytest.mark.parametrize(
    ("spent", "held", "limit", "level"),
    [(79, 0, 100, ""), (80, 0, 100, "near"), (50, 30, 100, "near"), (99.9, 0, 100, "near"), (100, 0, 100, "reached"),
     (120, 0, 100, "reached"), (0, 0, 0, "reached")],
)  # fmt: skip
def test_the_levels_of_a_cap(spent: float, held: float, limit: float, level: str) -> None:
    assert CapUse("w", Cap("per_day_usd", "", "usd", limit, spent, held)).level == level


def test_the_picture_has_each_amount_to_scale_and_escapes_names() -> None:
    days = [date(2026, 11, number) for number in range(1, 31)]
    drawn = stacked_bars(days, [("<a>", [2.0] * 30), ("b", [0.0] * 29 + [1.0])], unit="usd", title="Dollars & more")
    bars = re.findall(r'<rect class="series-(\d)" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn)
    assert [index for index, *_ in bars].count("1") == 1
    (below, above) = bars[-2:]
    assert float(below[3]) == pytest.approx(2 * float(above[3]), abs=0.2)
    assert float(above[2]) + float(above[3]) == pytest.approx(float(below[2]), abs=0.2)
    assert "<a>" not in drawn
    assert "Dollars &amp; more" in drawn
    assert drawn.count('class="middle"') <= 8
    assert 'class="series' not in stacked_bars(days, [], unit="tokens", title="none")
