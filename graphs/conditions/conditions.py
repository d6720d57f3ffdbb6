"""Conditions: CEL over the state's fields, compiled and type-checked once, evaluated in microseconds.

What is not known stays unknown, at run time as in the proofs. CEL absorbs it where it makes no difference: ``false &&
unknown`` is false, ``true || unknown`` is true; everything else that touches it (``!``, a comparison, ``in``, the test
of a ternary) is unknown. A condition *holds* only when it is certainly true, so a field that no node has written yet
never opens a branch, not even through ``!``: with a default of false, ``!checks.failed`` would pass before any check.
So ``tags.found`` is unknown to a condition until each tag that it tests has been scored: those named in
``'TAG' in tags.found``, or all declared ones.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sluicegate.errors import ConfigError, Place, Problem, RunError, nearest
from sluicegate.graphs.conditions.expression import Term, parse_checked, walk
from sluicegate.graphs.conditions.fields import UNSET, Field, fields
from sluicegate.state import Tags

__all__ = ["Condition", "Conditions"]


class Condition:
    """One compiled condition."""

    __slots__ = ("_expression", "_fields", "fields", "tags", "text", "tree")

    def __init__(self, text: str, expression: Any, tree: Term, read: tuple[Field, ...], tags: frozenset[str]) -> None:
        self.text = text
        self.tree = tree
        """It as the parser read it, for the proofs."""
        self._expression = expression
        self._fields = tuple((field.name, field.read) for field in read)
        self.fields = frozenset(field.name for field in read)
        """The names of the fields it reads."""
        self.tags = tags
        """The tags it tests."""

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def evaluate(self, state: Mapping[str, Any]) -> bool:
        """Whether it certainly holds in `state`; what is not there, a field or a key of a map, is unknown.

        Raises as `value` does.
        """
        return self.value(state) is True

    def value(self, state: Mapping[str, Any]) -> Any:
        """Its value in `state`, `UNSET` where that is unknown.

        Raises `RunError` SG632 where it cannot be evaluated: a text compared with a number, an overflow.
        """
        data: dict[str, Any] = {}
        for name, read in self._fields:
            value = read(state)
            if value is not UNSET:
                data[name] = value
        try:
            value = self._expression.eval(data=data).plain_value()
        except (RuntimeError, ValueError, OverflowError, TypeError, RecursionError) as error:
            value = str(error)
        if not isinstance(value, str):
            return value
        # the library gives an error as its text
        if not value.startswith(_UNKNOWN):
            hint = "Ask for what it needs before it compares, such as type(x) == int, or correct what writes the field"
            raise RunError("SG632", f"condition {self.text!r} cannot be evaluated: {value}", hint=hint)
        return UNSET

    def values(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Every field it reads with the value it has; None for one that is not written yet."""
        found = {name: read(state) for name, read in self._fields}
        return {name: None if value is UNSET else fields()[name].told(value) for name, value in found.items()}

    def result(self, state: Mapping[str, Any]) -> Any:
        """The value that an expression gives; None where it gives none, or needs what is not there."""
        data = {name: value for name, read in self._fields if (value := read(state)) is not UNSET}
        try:
            result = self._expression.eval(data=data)
        except (RuntimeError, ValueError, OverflowError, TypeError, RecursionError):
            return None
        return None if result.type().name() == "ERROR" else result.plain_value()

    def known(self, facts: Mapping[str, object]) -> bool | None:
        """The result as far as the values of some fields decide it; None when the others decide."""
        data = {name: facts[name] for name in self.fields if name in facts and facts[name] is not UNSET}
        value = self._expression.eval(data=data).value()
        return value if isinstance(value, bool) else None


class Conditions:
    """Compiles a workflow's conditions."""

    def __init__(
        self,
        intents: Iterable[str] = (),
        tools: Iterable[str] = (),
        tags: Iterable[str] = (),
        nodes: Iterable[str] = (),
        collected: Iterable[str] = (),
        inputs: Iterable[str] = (),
    ) -> None:
        """The values that `intent.label`, the names of tools, the fields of `tags` and `answer.by` can have, and the
        keys of `items` and `inputs`."""
        self._choices = {name: field.choices for name, field in fields().items() if field.choices}
        labels, names, writers, self._tags = tuple(intents), tuple(tools), tuple(nodes), tuple(tags)
        if labels:
            self._choices["intent.label"] = labels
        if names:
            self._choices["intent.tool"] = ("", *names)
            self._choices["tool.name"] = names
        if writers:
            self._choices["answer.by"] = writers
        self._choices |= {field: self._tags for field in ("tags.found", *_BY_TAG) if self._tags}
        if names := tuple(collected):
            self._choices |= dict.fromkeys(_BY_COLLECTION, names)
        self._choices[_INPUTS] = tuple(inputs)

    def choices(self, field: str) -> tuple[str, ...]:
        """Every value that a field can have; empty when they cannot be listed."""
        return self._choices.get(field, ())

    def compile(self, text: str, locate: Callable[[int], Place | None] = lambda _: None) -> Condition:
        """Compile a condition. Raises `ConfigError` with SG120 to SG123, each at `locate(offset in text)`."""
        return self._compiled(text, locate, ("BOOL", "DYN"), "not true or false", "Compare it with a value")

    def compile_list(self, text: str, locate: Callable[[int], Place | None] = lambda _: None) -> Condition:
        """Compile an expression that gives a list. Raises as `compile` does."""
        return self._compiled(text, locate, ("LIST", "DYN"), "not a list", "Name a list, such as documents")

    def compile_value(self, text: str, type: str, locate: Callable[[int], Place | None] = lambda _: None) -> Condition:
        """Compile an expression that gives a value of a type of JSON Schema. Raises as `compile` does."""
        names, wanted, hint = _VALUES[type]
        return self._compiled(text, locate, (*names, "DYN"), f"not {wanted}", hint)

    def _compiled(
        self, text: str, locate: Callable[[int], Place | None], types: tuple[str, ...], wanted: str, hint: str
    ) -> Condition:
        try:
            expression: Any = _environment().compile(text)
        except RuntimeError as error:
            raise ConfigError(_faults(str(error), text, locate)) from None
        except Exception as error:
            raise ConfigError([Problem("SG120", f"syntax error in condition: {error}", locate(0))]) from error
        result = expression.return_type().name()
        if not result.startswith(types):
            what = f"the condition gives {_TYPES.get(result.lower(), result.lower())}, {wanted}"
            raise ConfigError([Problem("SG121", what, locate(0), hint=hint)])
        tree = parse_checked(expression.serialize())
        terms = list(walk(tree))
        said = [pair for term in terms for pair in _said_of(term, text)]
        problems = [problem for field, constant in said for problem in self._never(field, constant, locate)]
        problems += [problem for term in terms for problem in self._misread(term, text, locate)]
        if problems:
            raise ConfigError(problems)
        known = fields()
        read = dict.fromkeys(term.name for term in terms if term.kind == "name" and term.name in known)
        tags = frozenset(str(constant.value) for field, constant in said if field.startswith("tags."))
        if not _only_named(terms):
            tags |= set(self._tags)
        looked_for = tuple(_looked_for(known[name], tags) for name in read)
        return Condition(text, expression, tree, looked_for, tags)

    def _misread(self, term: Term, text: str, locate: Callable[[int], Place | None]) -> Iterator[Problem]:
        """The problems of a term that CEL takes and that does not mean what it says."""
        if term.kind == "call" and term.name in _ORDERS:
            for part in term.parts:
                values = self.choices(part.name) if part.kind == "name" else ()
                if values:
                    sign = term.name.strip("_")
                    what = f"`{sign}` puts texts in alphabetical order, which {part.name} does not have"
                    hint = f"Name the values: {part.name} in ['…', '…']"
                    yield Problem("SG121", what, locate(term.offset), values, hint=hint)
        # the library drops the has() around a declared field, and leaves the field where its parenthesis was
        elif term.kind == "name" and term.name in fields() and text[term.offset : term.offset + 1] == "(":
            what = f"has({term.name}) is the field's own value, since the field is always declared"
            hint = "Compare the field; what no node has written yet is unknown, and opens no branch"
            yield Problem("SG121", what, locate(term.offset), hint=hint)

    def _never(self, field: str, constant: Term, locate: Callable[[int], Place | None]) -> Iterator[Problem]:
        """The problem of comparing a field with a text that it never has."""
        choices = self.choices(field)
        if (choices or field == _INPUTS) and constant.value not in choices:
            is_never = "is never" if fields()[field].type == "string" else "never has"
            what, place = f"{field} {is_never} {constant.value!r}", locate(constant.offset)
            hint = "Declare it under `inputs`" if field == _INPUTS else None
            yield Problem("SG123", what, place, choices, nearest(constant.value, choices), hint)


_UNKNOWN = ('UNKNOWN: No value with name "', "NOT_FOUND: Key not found in map")
"""How the library begins to say that a field has no value, or a map no such key."""

_VALUES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "string": (("STRING",), "text", "Write string(…) around it"),
    "number": (("DOUBLE", "INT"), "a number", "Write double(…) around it"),
    "integer": (("INT",), "a whole number", "Write int(…) around it"),
    "boolean": (("BOOL",), "true or false", "Compare it with a value"),
    "array": (("LIST",), "a list", "Name a list, such as documents"),
    "object": (("MAP",), "a map", "Name a map, such as extraction.fields"),
}
"""By the types of JSON Schema: the types that CEL gives, what they are called, and how to come to one."""

_ORDERS = frozenset({"_<_", "_<=_", "_>_", "_>=_"})

_BY_TAG = ("tags.scores", "tags.limits")
_BY_COLLECTION = ("items", "failed_items")
_INPUTS = "inputs"


def _said_of(term: Term, text: str) -> Iterator[tuple[str, Term]]:
    """Each field that a term compares with a text or tests for membership, with the text."""
    if term.kind == "member":
        member = Term("constant", max(text.find(term.name, term.offset), 0), value=term.name)
        yield from ((part.name, member) for part in term.parts if part.name in (*_BY_TAG, *_BY_COLLECTION, _INPUTS))
    elif term.kind == "each":
        # in a comprehension the variable stands for each text of the list
        within = [pair for part in term.parts[1:] for inner in walk(part) for pair in _said_of(inner, text)]
        yield from ((term.parts[0].name, constant) for name, constant in within if name == term.name)
    elif term.kind == "call" and term.name in ("_==_", "_!=_", "@in", "_[_]") and len(term.parts) == 2:
        left, right = term.parts
        if left.kind == "constant":
            left, right = right, left
        for constant in right.parts if right.kind == "list" else (right,):
            if left.kind == "name" and constant.kind == "constant" and isinstance(constant.value, str):
                yield left.name, constant


def _only_named(terms: Sequence[Term]) -> bool:
    """Whether `tags.found` is read as ``'TAG' in tags.found`` only."""
    uses = sum(term.kind == "name" and term.name == "tags.found" for term in terms)
    return uses == sum(
        term.name == "@in" and term.parts[0].kind == "constant" and term.parts[1].name == "tags.found"
        for term in terms
        if term.kind == "call"
    )


def _looked_for(field: Field, tags: frozenset[str]) -> Field:
    """The value of `tags.found` for a condition that tests `tags`; other fields as they are."""
    if field.name != "tags.found":
        return field

    def read(state: Mapping[str, Any]) -> Any:
        found: Tags | None = state.get("tags")
        return field.read(state) if found and tags <= found["scores"].keys() else UNSET

    return replace(field, read=read)


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
        "map(double)": cel.Type.Map(cel.Type.STRING, cel.Type.DOUBLE),
        "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
        "dyn": cel.Type.DYN,
    }
    return cel.NewEnv(variables={name: types[field.type] for name, field in fields().items()})


_ERROR = re.compile(r"ERROR: [^\n]*?:(\d+):(\d+): ([^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_TYPES = {"double": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "null_type": "null",
          "list(string)": "a list of texts"}  # fmt: skip
_PYTHON = {"and": "&&", "or": "||", "not": "!", "is": "==", "True": "true", "False": "false", "None": "null"}


def _faults(message: str, text: str, locate: Callable[[int], Place | None]) -> list[Problem]:
    """The library's errors as problems with our codes."""
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
    return [Problem("SG120", f"syntax error in condition: {plain}", locate(0))]


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
    hint = None
    if word and word[0] in _PYTHON:
        hint = f"CEL writes {_PYTHON[word[0]]} for {word[0]}"
    elif re.match(r"=(?!=)", text[offset:]):
        hint = "CEL compares with =="
    return Problem("SG120", f"syntax error in condition: {what}", locate(offset), hint=hint)


def _unknown(name: str, text: str, offset: int, locate: Callable[[int], Place | None]) -> Problem:
    # the library points at the last dot of a field, and at a function's parenthesis
    start = text.rfind(name, 0, offset + len(name))
    offset = start if start >= 0 else offset
    place = locate(offset)
    if name in _PYTHON:
        return Problem("SG122", f"unknown name {name!r}", place, hint=f"CEL writes {_PYTHON[name]}")
    if text[offset + len(name) :].lstrip().startswith("("):
        return Problem("SG122", f"unknown function {name!r}", place)
    concern = name.partition(".")[0]
    known = [field for field in fields() if field.partition(".")[0] == concern]
    if name == concern and known:
        return Problem("SG122", f"{name!r} is not a field but a group of fields", place, tuple(known))
    choices = known or list(dict.fromkeys(field.partition(".")[0] for field in fields()))
    suggestion = nearest(name, known) or nearest(name, fields())
    return Problem("SG122", f"unknown field {name!r}", place, tuple(choices), suggestion)


def _mismatch(operator: str, types: str, offset: int, locate: Callable[[int], Place | None]) -> Problem:
    sign = operator.strip("_").replace("@", "")
    parts = types.removeprefix("(").removesuffix(")").split(", ")
    sides = [_TYPES.get(part, part) for part in parts]
    hint = None
    if set(parts) == {"double", "int"}:
        hint = (
            "Write the number with a decimal point, such as 1.0" if types == "(double, int)" else "Write a whole number"
        )
    elif set(parts) == {"list(string)", "string"}:
        hint = "Test membership instead: 'text' in a.list"
    return Problem("SG121", f"`{sign}` cannot take {' and '.join(sides)}", locate(offset), hint=hint)
