"""`schema`: the text is JSON that fits a JSON Schema."""

import json
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed
from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import SchemaSettings
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND"]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, SchemaSettings)
    from referencing import Registry

    with postponed(SCHEMA_FORMATS):
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(settings.schema_)
    except SchemaError as error:
        raise PolicyError("SG203", f"the schema of the guard 'schema' is not a JSON Schema: {error.message}") from None
    # an empty registry: a reference to another address fails instead of being fetched
    validator = Draft202012Validator(settings.schema_, registry=Registry())

    def check(subject: Subject) -> Verdict:
        try:
            value: Any = json.loads(subject.text, parse_constant=_reject)
        except (ValueError, RecursionError):
            return Verdict(passed=False, reason="not JSON")
        errors: list[Any] = list(validator.iter_errors(value))
        if not errors:
            return PASS
        # the path and the rule, never the message: it quotes the value
        places = sorted({f"{_path(error)} breaks {error.validator!r}" for error in errors})
        return Verdict(passed=False, reason="; ".join(places[:5]))

    return check


def _path(error: Any) -> str:
    # property names come from the text too, so only those that the schema itself names are shown
    named = set(_strings(error.absolute_schema_path))
    return "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in named else ".*" for part in error.absolute_path
    )


def _strings(path: Any) -> list[str]:
    return [part for part in path if isinstance(part, str)]


def _reject(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


KIND = GuardKind(
    name="schema",
    doc="The text is JSON that fits a JSON Schema.",
    stages=frozenset({"output"}),
    settings=SchemaSettings,
    make=_make,
    quick=True,
)
