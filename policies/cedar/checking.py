"""Validation of policies: every fault of every file at once, each with its place.

Errors refuse the workflow: text that does not parse, that the schema does not know, a policy without a unique
`@id`, a template (it decides nothing until it is linked), and characters that make a policy read differently than it
is evaluated. A policy that no request can ever match is a warning, as in Cedar's own validator.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy
from cedarpy import PolicySet, Schema

from sluicegate.errors import Place, Problem, nearest
from sluicegate.policies.cedar.sources import PolicyFile, PolicyText
from sluicegate.policies.cedar.values import World, as_json, value_faults

__all__ = ["Rule", "check", "parsed_schema"]

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
_UNFINISHED = "unexpected end of input"
_UNKNOWN = {
    r"attribute `(\w+)` .* not found": r"(\w+)\??:",
    r'unrecognized action `Action::"(\w+)"`': r'action "(\w+)"',
    r"unrecognized entity type `(\w+)`": r"entity (\w+)",
}
"""Cedar's messages about unknown words, and how the schema declares such words."""
_PROBE = ' when { principal["sluicegate: reached"] == 1 };'


@dataclass(frozen=True, slots=True)
class Rule:
    """One checked policy."""

    id: str
    effect: str
    """``permit`` or ``forbid``."""
    reason: str
    """Its `@reason`, shown to requesters; empty when it has none."""
    place: Place
    text: str
    actions: tuple[str, ...]
    """The actions its scope names; empty for every action."""


def check(
    files: Sequence[PolicyFile], schema_text: str, world: World | None = None
) -> tuple[list[Rule], list[Problem]]:
    """The policies in file order, and every problem with them. Only a list without errors may be used.

    `world` says what the workflow's requests may have, for the values that policies compare with.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    sound: list[PolicyText] = []
    for file in files:
        problems += [
            Problem(
                "SG201",
                f"invisible direction mark U+{ord(found[0]):04X}: the text does not read as it is evaluated",
                file.place(found.start()),
            )
            for found in _BIDI.finditer(file.text)
        ]
        for policy in file.policies():
            fault = _parse_fault(policy)
            if fault:
                problems.append(fault)
                continue
            found_problems = _schema_faults(policy, schema_text)
            rule, naming = _named(policy, {known_rule.id: known_rule.place for known_rule in rules})
            problems += [*naming, *found_problems]
            if rule:
                rules.append(rule)
            if rule and not found_problems:
                sound.append(policy)
            if rule and not found_problems and _never_applies(policy, schema_text):
                message = f"policy {rule.id!r} can never apply: no request meets its conditions"
                problems.append(Problem("SG201", message, policy.place, severity="warning"))
    return rules, problems + (value_faults(sound, world) if world else [])


# A workflow's policies are checked when it is loaded and when its engine is made, and most are those that every
# workflow has. What Cedar says of them follows from the texts alone.


@lru_cache(maxsize=16)
def parsed_schema(text: str) -> Schema:
    """Raises `ValueError` where it is none."""
    return Schema.from_str(text)


def _parses(text: str) -> str:
    """Cedar's error message; empty when there is none."""
    try:
        PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return ""


_complaint = lru_cache(maxsize=1024)(_parses)


@lru_cache(maxsize=1024)
def _validated(text: str, schema_text: str) -> tuple[bool, tuple[str, ...]]:
    """Whether Cedar's validator lets a policy pass, and its errors."""
    result = cedarpy.validate_policies(text, parsed_schema(schema_text))
    return result.validation_passed, tuple(error.error for error in result.errors)


def _parse_fault(policy: PolicyText) -> Problem | None:
    complaint = _complaint(policy.text)
    if not complaint:
        return None
    # the shortest prefix that is more than unfinished ends at the word at fault (LR parsers see a fault at once)
    low, high = 1, len(policy.tokens)
    while low < high:
        middle = (low + high) // 2
        if _parses(policy.upto(middle)) in ("", _UNFINISHED):
            low = middle + 1
        else:
            high = middle
    place = policy.file.place(policy.tokens[low - 1].start)
    if complaint == _UNFINISHED:
        return Problem("SG201", "unfinished policy", place, hint="End it with ';'")
    if low == len(policy.tokens):
        # grammatical, but meaningless: the message quotes the word
        place = _mentioned(policy, complaint) or policy.place
    return Problem("SG201", complaint, place)


def _schema_faults(policy: PolicyText, schema_text: str) -> list[Problem]:
    _, found = _validated(policy.text, schema_text)
    messages = list(dict.fromkeys(message.removeprefix("for policy `policy0`, ") for message in found))
    if len(messages) > 1:
        # follows from the other fault
        messages = [message for message in messages if not message.startswith("unable to find an applicable action")]
    problems: list[Problem] = []
    for message in messages:
        near = None
        for unknown, declared in _UNKNOWN.items():
            word = re.search(unknown, message)
            known = re.findall(declared, schema_text)
            # what is declared for something else is spelt rightly
            near = nearest(word[1], known) if word and word[1] not in known else near
        problems.append(Problem("SG201", message, _mentioned(policy, message) or policy.place, suggestion=near))
    return problems


def _mentioned(policy: PolicyText, message: str) -> Place | None:
    """The place of the first word of the policy that `message` quotes."""
    for quoted in [*re.findall(r"`([^`]+)`", message), *re.findall(r": (\w+)$", message)]:
        words = [*re.findall(r'"([^"]*)"', quoted), quoted]
        for word in words:
            place = policy.find(word)
            if place:
                return place
    return None


def _named(policy: PolicyText, taken: dict[str, Place]) -> tuple[Rule | None, list[Problem]]:
    parsed: dict[str, Any] = json.loads(as_json(policy.text))
    if parsed["templates"]:
        message = "templates are not supported"
        return None, [Problem("SG201", message, policy.place, hint="Write out principal and resource")]
    (body,) = parsed["staticPolicies"].values()
    annotations: dict[str, str | None] = body.get("annotations", {})
    name = annotations.get("id") or ""
    problems: list[Problem] = []
    if not name:
        hint = 'Put @id("name") before it: the audit log names the policies that decided'
        problems.append(Problem("SG201", "policy without @id", policy.place, hint=hint))
    elif name in taken:
        message = f"@id {name!r} is already taken by the policy at {taken[name]}"
        problems.append(Problem("SG201", message, policy.place))
    scope = body["action"]
    entities = scope.get("entities", [scope["entity"]] if "entity" in scope else [])
    actions = tuple(entity["id"] for entity in entities)
    reason = annotations.get("reason") or ""
    return Rule(name, body["effect"], reason, policy.place, policy.text, actions), problems


def _never_applies(policy: PolicyText, schema_text: str) -> bool:
    """Cedar's type checker skips what follows a condition that is always false: it then misses a planted fault."""
    planted = policy.upto(len(policy.tokens) - 1) + _PROBE
    passed, _ = _validated(planted, schema_text)
    return passed
