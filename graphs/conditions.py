"""Conditions: CEL over the state's fields, compiled and type-checked once, evaluated in microseconds.

What is not known stays unknown, at run time as in the proofs. CEL absorbs it where it makes no difference: ``false &&
unknown`` is false, ``true || unknown`` is true; everything else that touches it (``!``, a comparison, ``in``, the test
of a ternary) is unknown. A condition *holds* only when it is certainly true, so a field that no node has written yet
never opens a branch, not even through ``!``: with a default of false, ``!checks.failed`` would pass before any check.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sluicegate.errors import ConfigError, Place, Problem, nearest
from sluicegate.graphs.expression import Term, parse_checked, walk
from sluicegate.graphs.fields import UNSET, Field, fields

__all__ = ["Condition", "Conditions"]


class Condition:
    """One compiled condition."""

    __slots__ = ("_expression", "_fields", "fields", "text")

    def __init__(self, text: str, expression: Any, read: tuple[Field, ...]) -> None:
        self.text = text
        self._expression = expression
        self._fields = tuple((field.name, field.read) for field in read)
        self.fields = frozenset(field.name for field in read)
        """The names of the fields it reads."""

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def evaluate(self, state: Mapping[str, Any]) -> bool:
        """Whether it certainly holds in `state`."""
        data: dict[str, Any] = {}
        for name, read in self._fields:
            value = read(state)
            if value is not UNSET:
                data[name] = value
        return self._expression.eval(data=data).value() is True

    def values(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Every field it reads with the value it has; None for one that is not written yet."""
        found = {name: read(state) for name, read in self._fields}
        return {name: None if value is UNSET else value for name, value in found.items()}

    def known(self, facts: Mapping[str, object]) -> bool | None:
        """What follows from some fields' values alone; None when the others decide."""
        data = {name: facts[name] for name in self.fields if name in facts and facts[name] is not UNSET}
        value = self._expression.eval(data=data).value()
        return value if isinstance(value, bool) else None


class Conditions:
    """Compiles a workflow's conditions."""

    def __init__(self, intents: Iterable[str] = (), tools: Iterable[str] = ()) -> None:
        """`intents` and `tools` are the values that `intent.label` and the names of tools can have."""
        self._choices = {name: field.choices for name, field in fields().items() if field.choices}
        labels, names = tuple(intents), tuple(tools)
        if labels:
            self._choices["intent.label"] = labels
        if names:
            self._choices["intent.tool"] = ("", *names)
            self._choices["tool.name"] = names

    def choices(self, field: str) -> tuple[str, ...]:
        """Every value that a field can have; empty when they cannot be listed."""
        return self._choices.get(field, ())

    def compile(self, text: str, locate: Callable[[int], Place | None] = lambda _: None) -> Condition:
        """Compile a condition. Raises `ConfigError` with SG120 to SG123, each at `locate(offset in text)`."""
        try:
            expression: Any = _environment().compile(text)
        except RuntimeError as error:
            raise ConfigError(_faults(str(error), text, locate)) from None
        except Exception as error:
            raise ConfigError([Problem("SG120", f"condition does not parse: {error}", locate(0))]) from error
        result = expression.return_type().name()
        if result not in ("BOOL", "DYN"):
            what = f"the condition gives {_TYPES.get(result.lower(), result.lower())}, not true or false"
            raise ConfigError([Problem("SG121", what, locate(0), mend="Compare it with something")])
        terms = list(walk(parse_checked(expression.serialize())))
        problems = [problem for term in terms for problem in self._never(term, locate)]
        if problems:
            raise ConfigError(problems)
        known = fields()
        read = dict.fromkeys(term.name for term in terms if term.kind == "name" and term.name in known)
        return Condition(text, expression, tuple(known[name] for name in read))

    def _never(self, term: Term, locate: Callable[[int], Place | None]) -> Iterable[Problem]:
        """Problems of a comparison with a text that the field never has."""
        if term.kind != "call" or term.name not in ("_==_", "_!=_", "@in") or len(term.parts) != 2:
            return
        left, right = term.parts
        if left.kind == "constant":
            left, right = right, left
        choices = self.choices(left.name) if left.kind == "name" else ()
        if not choices:
            return
        for constant in right.parts if right.kind == "list" else (right,):
            if constant.kind == "constant" and isinstance(constant.value, str) and constant.value not in choices:
                yield Problem(
                    "SG123",
                    f"{left.name} is never {constant.value!r}",
                    locate(constant.offset),
                    choices,
                    nearest(constant.value, choices),
                )


@functools.cache
def _environment() -> Any:
    from cel_expr_python import cel

    types = {
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "string": cel.Type.STRING,
        "list(string)": cel.Type.List(cel.Type.STRING),
        "list(map)": cel.Type.List(cel.Type.Map(cel.Type.STRING, cel.Type.DYN)),
        "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
        "dyn": cel.Type.DYN,
    }
    return cel.NewEnv(variables={name: types[field.type] for name, field in fields().items()})


_ERROR = re.compile(r"ERROR: [^\n]*?:(\d+):(\d+): ([^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_TYPES = {"double": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "null_type": "null"}
_PYTHON = {"and": "&&", "or": "||", "not": "!", "is": "==", "True": "true", "False": "false", "None": "null"}


def _faults(message: str, text: str, locate: Callable[[int], Place | None]) -> list[Problem]:
    """The library's errors, in our words."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    problems: list[Problem] = []
    for line, column, what in _ERROR.findall(message):
        offset = min(starts[min(int(line), len(starts)) - 1] + int(column) - 1, len(text))
        if what.startswith("Syntax error"):
            # the parser's later errors follow from the first
            return [_syntax(what.removeprefix("Syntax error: "), text, offset, locate)]
        undeclared, overload = _UNDECLARED.search(what), _OVERLOAD.search(what)
        if undeclared:
            problems.append(_unknown(undeclared[1], text, offset, locate))
        elif overload:
            problems.append(_mismatch(overload[1], overload[2], offset, locate))
        else:
            problems.append(Problem("SG121", what, locate(offset)))
    if problems:
        return problems
    plain = message.split("\n")[0].removeprefix("INVALID_ARGUMENT: ")
    return [Problem("SG120", f"condition does not parse: {plain}", locate(0))]


def _syntax(what: str, text: str, offset: int, locate: Callable[[int], Place | None]) -> Problem:
    what = re.split(r",? expecting ", what)[0].replace("'<EOF>'", "end").replace("<EOF>", "the end")
    what = re.sub(
        r"(token recognition error at:|(mismatched|extraneous) input|no viable alternative at input)",
        "unexpected",
        what,
    )
    word = re.match(r"[A-Za-z]+", text[offset:]) or re.search(r"[A-Za-z]+(?=\s*$)", text[:offset])
    if word and word[0] not in _PYTHON:
        word = re.search(r"[A-Za-z]+(?=\s*$)", text[:offset])
    mend = None
    if word and word[0] in _PYTHON:
        mend = f"CEL writes {_PYTHON[word[0]]} for {word[0]}"
    elif re.match(r"=(?!=)", text[offset:]):
        mend = "CEL compares with =="
    return Problem("SG120", f"condition does not parse: {what}", locate(offset), mend=mend)


def _unknown(name: str, text: str, offset: int, locate: Callable[[int], Place | None]) -> Problem:
    # the library points at the last dot of a field, and at a function's parenthesis
    start = text.rfind(name, 0, offset + len(name))
    offset = start if start >= 0 else offset
    place = locate(offset)
    if name in _PYTHON:
        return Problem("SG122", f"unknown name {name!r}", place, mend=f"CEL writes {_PYTHON[name]}")
    if text[offset + len(name) :].lstrip().startswith("("):
        return Problem("SG122", f"unknown function {name!r}", place)
    concern = name.partition(".")[0]
    known = [field for field in fields() if field.partition(".")[0] == concern]
    if name == concern and known:
        return Problem("SG122", f"{name!r} is not a field; it has fields", place, tuple(known))
    choices = known or list(dict.fromkeys(field.partition(".")[0] for field in fields()))
    suggestion = nearest(name, known) or nearest(name, fields())
    return Problem("SG122", f"unknown field {name!r}", place, tuple(choices), suggestion)


def _mismatch(operator: str, types: str, offset: int, locate: Callable[[int], Place | None]) -> Problem:
    sign = operator.strip("_").replace("@", "")
    sides = [_TYPES.get(part, part) for part in types.strip("()").split(", ")]
    mend = None
    if set(types.strip("()").split(", ")) == {"double", "int"}:
        mend = "Write the number with a decimal point, as 1.0" if types == "(double, int)" else "Write a whole number"
    return Problem("SG121", f"`{sign}` cannot take {' and '.join(sides)}", locate(offset), mend=mend)
