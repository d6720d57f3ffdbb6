"""Authorisation by Cedar; only a clean Allow is an allow.

Policies and schema are parsed and validated once. At a decision the entities are parsed against the schema and the
request is checked against it too. Cedar skips a policy whose evaluation fails, also a forbid, and would allow what
was meant to be forbidden: any diagnostic error is therefore a deny here.

Cedar has no clock and no state: one request always gets the same decision of one policy set. So the decisions are
kept, by everything that Cedar is given; a run asks a dozen times, mostly what the run before has asked.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import cedarpy
from cedarpy import Entities, PolicySet

from sluicegate.errors import PolicyError, Problem
from sluicegate.policies.cedar.checking import Rule, check, parsed_schema
from sluicegate.policies.cedar.entities import context_json, principal_json, resource_json, uid
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.policies.config import PolicyConfig
from sluicegate.policies.kill_switch import KillSwitch, Switched
from sluicegate.services import Decision
from sluicegate.state import Principal

__all__ = ["CedarEngine", "Considered", "load_engine"]

_ARGUMENTS = re.compile(r"\barguments\b")
_UNFIT = "the request does not fit the policy schema"

_Who: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...], Any]
"""A principal that can be a key: id, roles, groups, clearance."""


@dataclass(frozen=True, slots=True)
class Considered:
    """One policy against one request."""

    rule: Rule
    applies: bool
    error: str = ""
    """Why it could not be evaluated; a forbid then counts as matched."""


class CedarEngine:
    """Implements `sluicegate.services.PolicyEngine`; safe to share between threads.

    Raises `PolicyError` SG201 with every problem of every file when a policy may not be used.
    """

    def __init__(
        self, files: Sequence[PolicyFile], *, schema: str | None = None, switch: KillSwitch | None = None
    ) -> None:
        schema_text = base_schema() if schema is None else schema
        rules, problems = check(files, schema_text)
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            raise PolicyError("SG201", "\n".join(f"{p.place}: {p.message}" + _hint(p) for p in errors))
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.warnings: tuple[Problem, ...] = tuple(problems)
        """Policies that can never apply."""
        self._schema = parsed_schema(schema_text)
        texts = [rule.text for rule in rules]
        self._policies = _policy_set("\n".join(texts))
        # Cedar numbers policies in the order of the text
        self._by_number = {f"policy{number}": rule for number, rule in enumerate(rules)}
        self.digest = hashlib.sha256("\0".join([schema_text, *texts]).encode()).hexdigest()
        """Hash of the policy set and its schema, for the audit log and the workflow's digest."""
        self._of_arguments = any(_ARGUMENTS.search(rule.text) for rule in rules)
        self._switch = switch
        self._principals = lru_cache(maxsize=4096)(self._parsed_principal)
        self._decisions = lru_cache(maxsize=4096)(self._decided)
        self._recent = lru_cache(maxsize=32)(self._decided)

    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        """Decide one request; a bad input is a deny with `errors`, never an exception.

        With a kill switch, what is switched off is denied before any policy is evaluated.
        """
        try:
            switched = self._switched(action, resource, context)
            if switched:
                reason = f"{switched.name} is switched off: {switched.reason}"
                return Decision(False, (f"switch:{switched.name}",), reason)
            if "arguments" in context and not self._of_arguments:
                # what no policy asks about decides nothing, whatever Cedar could make of it
                context = {name: value for name, value in context.items() if name != "arguments"}
            # what an item or a call holds is of one run alone, which asks about a call more than once
            decided = self._decided if "item" in context else self._decisions
            if "arguments" in context and "item" not in context:
                decided = self._recent
            return decided(*_question(principal, action, resource, context))
        except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
            fault = f"{type(error).__name__}: {error}"
            return Decision(False, (), _UNFIT, (fault,))

    def consider(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> list[Considered]:
        """Each policy about `action` by itself against one request, as an explanation. Slow: parses it again."""
        considered: list[Considered] = []
        for rule in self.rules:
            if rule.actions and action not in rule.actions:
                continue
            # a permit next to a forbid makes its effect visible
            text = rule.text if rule.effect == "permit" else f"{rule.text}\npermit (principal, action, resource);"
            try:
                raw = self._asked(PolicySet.from_str(text), *_question(principal, action, resource, context))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                considered.append(Considered(rule, False, str(error)))
                continue
            errors: list[str] = raw.diagnostics.errors
            applies = "policy0" in raw.diagnostics.reasons
            considered.append(Considered(rule, applies, "; ".join(errors)))
        return considered

    def _switched(self, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]) -> Switched | None:
        if self._switch is None or action not in ("ask", "use_model", "call_tool", "call_unattended"):
            return None
        names = {resource["type"].lower(): resource["id"]}
        model, workflow = names.get("model", ""), names.get("workflow", "")
        return self._switch.check(model=model, workflow=workflow, intent=context.get("intent", ""))

    def _decided(self, who: _Who, action: str, kind: str, id: str, entity: str, context: str) -> Decision:
        answer = self._asked(self._policies, who, action, kind, id, entity, context)
        errors = tuple(self._readable(error) for error in answer.diagnostics.errors)
        deciding = [self._by_number[number] for number in sorted(answer.diagnostics.reasons, key=_number)]
        if answer.allowed and not errors:
            return Decision(True, tuple(rule.id for rule in deciding), _reason(deciding))
        forbidding = [rule for rule in deciding if rule.effect == "forbid"]
        reason = _reason(forbidding)
        if answer.decision is cedarpy.Decision.NoDecision:
            reason = _UNFIT
        elif errors:
            reason = reason or "a policy could not be evaluated"
        return Decision(False, tuple(rule.id for rule in forbidding), reason or "no policy allows it", errors)

    def _asked(self, policies: PolicySet, who: _Who, action: str, kind: str, id: str, entity: str, context: str) -> Any:
        request = {
            "principal": uid("User", who[0]),
            "action": uid("Action", action),
            "resource": uid(kind, id),
            "context": context,
        }
        entities = self._principals(who).with_added_json_str(entity, self._schema)
        return cedarpy.is_authorized(request, policies, entities, self._schema)

    def _parsed_principal(self, who: _Who) -> Entities:
        name, roles, groups, clearance = who
        principal: Principal = {"id": name, "roles": [*roles], "groups": [*groups], "clearance": clearance}
        return Entities.from_json_str(principal_json(principal), self._schema)

    def _readable(self, error: str) -> str:
        """Cedar's message with the policy's `@id` in place of its number."""
        for number, rule in self._by_number.items():
            error = error.replace(f"`{number}`", f"`{rule.id}`")
        return error


def load_engine(
    folder: Path | None = None, config: PolicyConfig | None = None, *, switch: KillSwitch | None = None
) -> CedarEngine:
    """The engine of a workflow's folder: base policies and its own. Raises `PolicyError` SG201."""
    return CedarEngine(policy_files(folder, config), switch=switch)


@lru_cache(maxsize=64)
def _policy_set(text: str) -> PolicySet:
    return PolicySet.from_str(text)


def _question(
    principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[_Who, str, str, str, str, str]:
    """Everything that Cedar is given about one request, as values that can be a key."""
    who = (principal["id"], tuple(principal["roles"]), tuple(principal["groups"]), principal["clearance"])
    return who, action, resource["type"], resource["id"], resource_json(resource, context), context_json(context)


def _number(policy: str) -> int:
    return int(policy.removeprefix("policy"))


def _reason(rules: Sequence[Rule]) -> str:
    return "; ".join(rule.reason or rule.id for rule in rules)


def _hint(problem: Problem) -> str:
    suggestion = f"; did you mean {problem.suggestion!r}?" if problem.suggestion else ""
    return suggestion + (f". {problem.hint}" if problem.hint else "")
