"""Cedar decides; whatever is not a clean Allow is a deny."""

from datetime import UTC, datetime
from typing import Any

import cedarpy
import pytest

from sluicegate.errors import PolicyError
from sluicegate.policies.cedar import checking
from sluicegate.policies.cedar import engine as engine_module
from sluicegate.policies.cedar.engine import CedarEngine, load_engine
from sluicegate.policies.cedar.entities import context_json, principal_json, uid
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.policies.config import PolicyConfig
from sluicegate.state import Principal

HELPDESK = {"type": "Workflow", "id": "helpdesk"}
ASK = {"intent": "reset", "risk": "low", "channel": "cli", "hour": 9, "data_classes": []}


def person(
    id: str = "alice", roles: tuple[str, ...] = (), groups: tuple[str, ...] = (), clearance: Any = "internal"
) -> Principal:
    return {"id": id, "roles": [*roles], "groups": [*groups], "clearance": clearance}


def engine(text: str = "", *, base: bool = False) -> CedarEngine:
    own = [PolicyFile("own.cedar", text)] if text else []
    return CedarEngine([*(policy_files() if base else []), *own])


def test_base_policies_allow_asking_and_name_the_rule() -> None:
    decision = load_engine().decide(person(), "ask", HELPDESK, ASK)
    assert decision.allowed
    assert decision.rules == ("base.ask",)
    assert decision.reason == "whoever is signed in may ask"
    assert decision.errors == ()


def test_nothing_is_allowed_by_default() -> None:
    decision = engine().decide(person(), "ask", HELPDESK, ASK)
    assert not decision.allowed
    assert decision.rules == ()
    assert decision.reason == "no policy allows it"


def test_forbid_wins_and_only_the_forbidding_rules_are_named() -> None:
    own = (
        '@id("own.night") @reason("not at night") '
        'forbid (principal, action == Action::"ask", resource) when { context.hour < 6 };'
    )
    night = engine(own, base=True).decide(person(), "ask", HELPDESK, {**ASK, "hour": 3})
    assert not night.allowed
    assert night.rules == ("own.night",)
    assert night.reason == "not at night"
    assert engine(own, base=True).decide(person(), "ask", HELPDESK, ASK).allowed


def test_a_forbid_that_fails_to_evaluate_denies() -> None:
    """Cedar itself skips it and allows; the schema cannot rule an overflow out."""
    own = (
        '@id("own.overflow") forbid (principal, action == Action::"ask", resource) '
        "when { context.hour * 9223372036854775807 > 3 };"
    )
    decision = engine(own, base=True).decide(person(), "ask", HELPDESK, ASK)
    assert not decision.allowed
    assert decision.reason == "a policy could not be evaluated"
    assert len(decision.errors) == 1
    assert "`own.overflow`" in decision.errors[0]
    raw = cedarpy.is_authorized(
        {"principal": uid("User", "alice"), "action": uid("Action", "ask"), "resource": uid("Workflow", "helpdesk"),
         "context": context_json(ASK)},
        own + '@id("p") permit (principal, action == Action::"ask", resource);',
        principal_json(person()),
        base_schema(),
    )  # fmt: skip
    assert raw.allowed, "Cedar has changed: the hazard is gone"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"action": "fly"}, "does not exist in the supplied schema"),
        ({"action": ""}, "does not exist in the supplied schema"),
        ({"action": 'ask", resource); permit(principal, action == Action::"ask'}, "does not exist"),
        ({"context": {}}, "expected the record to have an attribute"),
        ({"context": {k: v for k, v in ASK.items() if k != "hour"}}, "attribute `hour`"),
        ({"context": {**ASK, "hour": "9"}}, "not valid for"),
        ({"context": {**ASK, "hour": 9.5}}, ""),
        ({"context": {**ASK, "hour": True}}, "not valid for"),
        ({"context": {**ASK, "hour": 2**70}}, ""),
        ({"context": {**ASK, "extra": 1}}, "`extra` should not exist"),
        ({"context": {**ASK, "data_classes": object()}}, "not plain data"),
        ({"context": {**ASK, "time": datetime(2026, 1, 1)}}, "no time zone"),  # noqa: DTZ001
        ({"resource": {"type": "Zork", "id": "x"}}, "deserialization"),
        ({"resource": {"type": "Document", "id": "x"}}, ""),
        ({"resource": {"type": "Workflow", "id": ""}}, "is not a name"),
        ({"resource": {"type": "Workflow"}}, "KeyError"),
        ({"resource": {**HELPDESK, "owner": "x"}}, ""),
        ({"resource": {}}, "KeyError"),
        ({"principal": person(clearance="cosmic")}, "'cosmic' is not one of public, internal"),
        ({"principal": person(id="")}, "is not a name"),
        ({"principal": {"id": "alice"}}, "KeyError"),
        ({"principal": person(roles=(3,))}, ""),  # type: ignore[arg-type]
        ({"principal": None}, "TypeError"),
    ],
)  # fmt: skip
def test_bad_input_is_a_deny_that_says_why(change: dict[str, Any], fault: str) -> None:
    request = {"principal": person(), "action": "ask", "resource": HELPDESK, "context": ASK, **change}
    decision = load_engine().decide(**request)
    assert not decision.allowed
    assert decision.rules == ()
    assert decision.errors
    assert decision.reason == "the request does not fit the policy schema"
    assert fault in decision.errors[0]


ODD = [
    "a\"b", "a\\b", "Ⅷ", "🙂", "naïve", "nai\u0308ve", "x\ny", "operator\", Role::\"x", "role:operator", "a;b",
    "\u202eevil", " operator ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_odd_names_are_names_and_nothing_else(odd: str) -> None:
    run = {"type": "Run", "id": odd, "requester": "bob"}
    assert not load_engine().decide(person(id=odd, roles=(odd,), groups=(odd,)), "see_trace", run, {}).allowed
    own = load_engine().decide(person(id=odd), "see_trace", {**run, "requester": odd}, {})
    assert own.allowed
    assert own.rules == ("base.trace.own",)
    document = {"type": "Document", "id": odd, "readers": [f"role:{odd}"], "classification": "public"}
    assert load_engine().decide(person(roles=(odd,)), "read_document", document, {}).allowed
    assert not load_engine().decide(person(roles=("x",)), "read_document", document, {}).allowed
    assert not load_engine().decide(person(groups=(odd,)), "read_document", document, {}).allowed


def test_names_that_look_alike_are_different_people() -> None:
    run = {"type": "Run", "id": "r", "requester": "naïve"}
    assert not load_engine().decide(person(id="nai\u0308ve"), "see_trace", run, {}).allowed


def test_roles_and_groups_are_kinds_of_their_own() -> None:
    run = {"type": "Run", "id": "r", "requester": "bob"}
    assert load_engine().decide(person(roles=("auditor",)), "see_trace", run, {}).allowed
    assert not load_engine().decide(person(groups=("auditor",)), "see_trace", run, {}).allowed


def test_nobody_decides_on_a_high_risk_request_of_their_own() -> None:
    run = {"type": "Run", "id": "r", "requester": "alice"}
    high = {"intent": "access", "risk": "high"}
    refused = load_engine().decide(person("alice"), "approve", run, high)
    assert refused.rules == ("base.approve.four-eyes",)
    assert not refused.allowed
    assert load_engine().decide(person("bob"), "approve", run, high).allowed


def test_restricted_data_stays_with_local_models() -> None:
    decide = load_engine().decide
    remote = {"type": "Model", "id": "openai:gpt-5-mini", "local": False}
    assert decide(person(), "use_model", remote, {"classification": 2}).allowed
    assert decide(person(), "use_model", remote, {"classification": 3}).rules == ("base.model.restricted-stays-here",)
    assert not decide(person(), "use_model", {"type": "Model", "id": "who-knows"}, {"classification": 3}).allowed
    assert decide(person(), "use_model", {**remote, "local": True}, {"classification": 3}).allowed


def test_time_can_be_a_condition() -> None:
    own = (
        '@id("own.until") permit (principal, action == Action::"ask", resource) '
        'when { context has time && context.time < datetime("2026-06-01") };'
    )
    may, june = datetime(2026, 5, 31, 23, 59, 59, 999_000, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    assert engine(own).decide(person(), "ask", HELPDESK, {**ASK, "time": may}).allowed
    assert not engine(own).decide(person(), "ask", HELPDESK, {**ASK, "time": june}).allowed
    assert not engine(own).decide(person(), "ask", HELPDESK, ASK).allowed


def test_own_policies_come_from_the_folder_and_change_the_digest(tmp_path: Any) -> None:
    (tmp_path / "policies").mkdir()
    own = tmp_path / "policies" / "own.cedar"
    own.write_text('@id("own.no") forbid (principal, action == Action::"ask", resource);', "utf-8")
    with_own = load_engine(tmp_path)
    assert with_own.decide(person(), "ask", HELPDESK, ASK).rules == ("own.no",)
    assert with_own.digest != load_engine().digest
    assert load_engine(tmp_path).digest == with_own.digest
    assert [rule.id for rule in load_engine(tmp_path, PolicyConfig(base=False)).rules] == ["own.no"]
    with pytest.raises(PolicyError, match="no policy file matches 'other/"):
        load_engine(tmp_path, PolicyConfig(files=("other/*.cedar",)))


def test_consider_shows_each_policy_by_itself() -> None:
    run = {"type": "Run", "id": "r", "requester": "alice"}
    considered = load_engine().consider(person("alice"), "approve", run, {"intent": "x", "risk": "high"})
    assert [c.rule.id for c in considered if c.applies] == ["base.approve", "base.approve.four-eyes"]


def test_policies_are_parsed_once_and_a_person_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counting(name: str, real: Any) -> Any:
        def parse(text: str, *more: Any) -> Any:
            parsed.append(name)
            return real(text, *more)

        return type(name, (), {"from_str": parse, "from_json_str": parse})

    for module, name, real in (
        (engine_module, "PolicySet", engine_module.PolicySet.from_str),
        (checking, "Schema", checking.Schema.from_str),
        (engine_module, "Entities", engine_module.Entities.from_json_str),
    ):
        monkeypatch.setattr(module, name, counting(name, real))
    for kept in (engine_module._policy_set, checking.parsed_schema):
        kept.cache_clear()
    load_engine()
    prepared = load_engine()
    assert parsed == ["Schema", "PolicySet"], "also for the second engine"
    for _ in range(20):
        assert prepared.decide(person(roles=("x",), groups=("g",)), "ask", HELPDESK, ASK).allowed
        assert prepared.decide(person("ben"), "ask", HELPDESK, ASK).allowed
    assert parsed == ["Schema", "PolicySet", "Entities", "Entities"]
