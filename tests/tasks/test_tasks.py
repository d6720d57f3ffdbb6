"""The six small tasks: on the embedded model, and what happens with answers that do not fit."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from typer.testing import CliRunner

from sluicegate import tasks
from sluicegate.cli.task import app
from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.provider import ModelResponse
from sluicegate.nodes.extraction.stated import RequestText, Rule, stated
from sluicegate.services import ModelRequest, TokenLogprob
from tests.support import ROOT

EMBEDDED = "embedded:smollm2-135m"
PATTERN = ROOT / "configs" / "patterns" / "3-rag-slm"
ORDER = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}},
    "required": ["item", "quantity"],
}

REWORDED: dict[str, Rule] = {"item": "reworded"}


class Scripted:
    """A provider that gives these answers one after the other."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[ModelRequest] = []

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.asked.append(request)
        return ModelResponse(self.answers.pop(0), 5, 5, "stop", (TokenLogprob("a", -0.1), TokenLogprob("b", -0.3)))

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        raise AssertionError

    async def identity(self) -> str:
        return "scripted"

    async def warm(self) -> None: ...


def scripted(provider: Scripted) -> ModelSet:
    return ModelSet({"slm": ModelConfig(use="ollama:any")}, provider_of=lambda _config: provider)  # type: ignore[arg-type]


class Order(BaseModel):
    item: str
    quantity: int

    @field_validator("quantity")
    @classmethod
    def _at_least_two(cls, value: int) -> int:
        if value < 2:
            raise ValueError("fewer than two are not ordered")
        return value


@pytest.mark.slow
async def test_what_pydantic_refuses_is_asked_again_with_the_reason() -> None:
    provider = Scripted('{"item": "monitor", "quantity": 1}', '{"item": "monitor", "quantity": 3}')
    found = await tasks.extract("3 monitors, not 1", Order, values=REWORDED, models=scripted(provider))
    assert found.value == Order(item="monitor", quantity=3)
    assert found.attempts == 2
    assert found.confidence == pytest.approx(0.8187, abs=1e-3)  # exp of the mean of -0.1 and -0.3
    assert found.model == "ollama:any"
    assert "fewer than two are not ordered" in provider.asked[1].messages[-1].content


async def test_what_never_fits_is_an_error_that_says_why() -> None:
    provider = Scripted(*['{"item": "monitor", "quantity": 1}'] * 3)
    with pytest.raises(ModelError, match="fewer than two") as raised:
        await tasks.extract("1 monitor", Order, models=scripted(provider), retries=2)
    assert raised.value.code == "SG305"
    assert provider.answers == []


async def test_json_that_does_not_fit_the_schema_is_asked_again_too() -> None:
    provider = Scripted('{"item": "monitor"}', '{"item": "monitor", "quantity": 3}')
    assert (await tasks.extract("3 monitors", ORDER, values=REWORDED, models=scripted(provider))).value["quantity"] == 3
    assert "'quantity' is a required property" in provider.asked[1].messages[-1].content


async def test_what_the_text_does_not_state_is_asked_again_and_never_given() -> None:
    provider = Scripted('{"item": "monitor", "quantity": 7}', '{"item": "monitor", "quantity": 3}')
    found = await tasks.extract("Please order 3 monitors", ORDER, values=REWORDED, models=scripted(provider))
    assert found.value == {"item": "monitor", "quantity": 3}
    assert "quantity: it does not stand in the request" in provider.asked[1].messages[-1].content
    for form in (ORDER, Order):
        provider = Scripted(*['{"item": "monitors", "quantity": 7}'] * 2)
        with pytest.raises(ModelError, match="quantity: it does not stand in the request") as raised:
            await tasks.extract("Please order monitors", form, models=scripted(provider))
        assert raised.value.code == "SG305"


async def test_an_optional_field_that_is_not_stated_is_left_out() -> None:
    form = {**ORDER, "required": ["item"]}
    answer = '{"item": "monitors", "quantity": 7}'
    found = await tasks.extract("Please order monitors", form, models=scripted(Scripted(answer)))
    assert found.value == {"item": "monitors"}
    derived = await tasks.extract(
        "Please order monitors", form, values={"quantity": "derived"}, models=scripted(Scripted(answer))
    )
    assert derived.value == {"item": "monitors", "quantity": 7}


@pytest.mark.parametrize("rows", [tasks.TASKS["extract"].rows()])
def test_the_set_has_only_what_its_texts_state(rows: list[Any]) -> None:
    for row in rows:
        form = {"type": "object", "properties": {name: {} for name in row["value"]}}
        assert stated(row["value"], form, RequestText(row["text"], date(2026, 1, 1)), {})[1] == {}, row


async def test_what_fits_no_schema_counts_as_wrong_when_measured() -> None:
    measured = await tasks.measure("extract", models=scripted(Scripted(*["no JSON"] * 4)), limit=1)
    assert (measured.right, measured.rows, measured.median_ms) == (0, 1, 0.0)


@pytest.mark.slow
async def test_tags_are_those_near_in_meaning() -> None:
    found = await tasks.tag("The wifi is slow and the VPN drops.", ["network", "cooking", "payroll"])
    assert found.value == ["network"]
    assert found.model.endswith("minilm-l6-v2") or found.model.startswith("ollama:")
    assert (await tasks.tag("Which wine goes with fish?", ["payroll", "firewall"], most=1)).value == []


async def test_a_large_enough_model_may_decode_the_label() -> None:
    said, even = TokenLogprob("B", -0.1, (("A", -3.0),)), TokenLogprob("B", -0.7, (("A", -0.7),))
    provider = Scripted(*['{"class": "B"}'] * 4)

    async def chat(request: ModelRequest) -> ModelResponse:
        provider.asked.append(request)
        # what says nothing is answered by either: the prior, which is divided out
        text = request.messages[-1].content.rsplit("Request: ", 1)[1]
        return ModelResponse('{"class": "B"}', 5, 5, "stop", (said if text == "it drips" else even,))

    provider.chat = chat  # type: ignore[method-assign]
    found = await tasks.classify(
        "it drips", {"power": "electricity", "water": "pipes"}, by="decoding", models=scripted(provider)
    )
    assert found.value == "water"
    assert found.model == "ollama:any"
    assert "B. pipes" in provider.asked[-1].messages[-1].content


@pytest.mark.slow
def test_the_embedded_model_does_them(tmp_path: Path) -> None:
    models = tasks.default_models(EMBEDDED)
    order = tasks.sync.extract("Please order 3 monitors.", ORDER, values=REWORDED, models=models)
    assert order.value["quantity"] == 3
    assert 0 < order.confidence <= 1
    assert order.model == EMBEDDED
    label = tasks.sync.classify("The printer is broken.", ["printer", "holiday"], models=models)
    assert label.value == "printer"
    assert 0.5 <= label.confidence <= 1
    short = tasks.sync.summarise("At 08:15 the mail gateway stopped. It was restarted at 10:40.", models=models)
    assert short.value


@pytest.mark.slow
def test_a_route_below_the_threshold_is_not_taken() -> None:
    sure = tasks.sync.route("I forgot my password, how do I reset it?", PATTERN / "router")
    assert sure.value == "password"
    unsure = tasks.sync.route("hm", PATTERN / "router", otherwise="a person")
    assert unsure.value in ("a person", "out_of_scope")
    # no model: the confidence is the router's own
    assert sure.confidence > unsure.confidence


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("route", 0.7), ("classify", 0.7)])
async def test_a_task_is_measured_on_its_set(name: Any, least: float) -> None:
    measured = await tasks.measure(name, models=tasks.default_models(EMBEDDED), limit=20)
    assert measured.rows == 20
    assert measured.low <= measured.accuracy <= measured.high
    assert measured.accuracy >= least
    assert measured.median_ms > 0


@pytest.mark.parametrize("name", list(tasks.TASKS))
def test_every_task_has_twenty_rows(name: Any) -> None:
    assert len(tasks.TASKS[name].rows()) >= 20


async def test_measuring_counts_what_is_right() -> None:
    rows = tasks.TASKS["extract"].rows()[:2]
    # what is not stated is asked for once more
    answers = [json.dumps(rows[0]["value"]), *[json.dumps({**rows[1]["value"], "quantity": -1})] * 2]
    measured = await tasks.measure("extract", models=scripted(Scripted(*answers)), limit=2)
    assert (measured.right, measured.rows) == (1, 2)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    schema = tmp_path / "order.json"
    schema.write_text(json.dumps(ORDER))
    run = CliRunner().invoke
    done = run(
        app,
        [
            "extract",
            "Please order 3 monitors.",
            "--schema",
            str(schema),
            "--value",
            "item=reworded",
            "--model",
            EMBEDDED,
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["value"]["quantity"] == 3
    routed = run(app, ["route", "I forgot my password", "--router", str(PATTERN / "router"), "--json"])
    assert json.loads(routed.stdout)["value"] == "password"
    schema.write_text('{"type": "nonsense"}')
    broken = run(app, ["extract", "x", "--schema", str(schema)])
    assert "not a JSON Schema" in str(broken.exception)
    schema.write_text(json.dumps(ORDER))
    for rule in ("quantity=guessed", "colour=derived"):
        assert run(app, ["extract", "x", "--schema", str(schema), "--value", rule]).exit_code == 2
    assert "no task 'sing'" in str(run(app, ["measure", "sing"]).exception)
