"""People, places and organisations, found by a spaCy model and by the words around their names.

spaCy comes with `pip install "sluicegate[ner]"`; a pinned model with `sluicegate models pull en-core-web-md`. Any other
installed model, or a model's folder, can be named too. The model proposes names; proper nouns that it leaves out are
proposed as well, and `naming` weighs which kind each one is.
"""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.extras import extra
from sluicegate.policies.guards.checking import Finding
from sluicegate.policies.guards.pii.naming import KINDS, NO_NAME, block_lines, recased, weighed

__all__ = ["named_entities", "pipeline_of"]

_LABELS = {
    "PERSON": "person",
    "PER": "person",
    "GPE": "place",
    "LOC": "place",
    "FAC": "place",
    "ORG": "organization",
}
"""Labels of the English (OntoNotes) and of the other languages' (WikiNER) models."""
_OTHER = frozenset({"PRODUCT", "WORK_OF_ART", "NORP", "LAW", "EVENT", "LANGUAGE", "MISC"})
"""Labels of names that are none of ours, unless the words around them say so."""

_BELIEF = 0.9
"""Weight of the model's own label."""
_UNLABELLED, _UNLABELLED_KNOWN = 0.12, 0.04
"""Weights of the kinds for a proper noun that the model missed: one outside its vocabulary, and one inside."""
_ENOUGH = 0.25
"""Minimum share of the weight for a name to count."""
_SHORT_LINES = 60
"""Characters: lines of lists and addresses are shorter, and are read one by one."""
_PART = re.compile(
    r"(?i)\b(?:university|city|county|port|state|town|village|municipality|province|college|bank|hospital) of "
    r"(?P<place>[^\W\d_].*)"
)
_Name = tuple[int, int, dict[str, float]]


def pipeline_of(model: str, exclude: tuple[str, ...]) -> Any:
    """The spaCy pipeline without the parts of it that are not used. `model` is a package name or a folder.

    Raises `PolicyError` SG203 when spaCy or the model is not installed, or when they do not fit each other.
    """
    with extra("ner", f"the spaCy model {model!r}", partial(PolicyError, "SG203")):
        import spacy
    try:
        pipeline: Any = spacy.load(model, exclude=exclude)
    except (OSError, ValueError) as error:
        raise PolicyError(
            "SG203",
            f"the spaCy model {model!r} is not installed",
            hint="Use `model: en-core-web-md` (`sluicegate models pull en-core-web-md`), install the one you named, "
            "or take person, place and organization out of `pii`",
        ) from error
    here, wanted = version("spacy"), str(pipeline.meta.get("spacy_version", ""))
    if wanted and spacy.util.is_compatible_version(here, wanted) is False:
        raise PolicyError(
            "SG203",
            f"the spaCy model {model!r} is for spaCy {wanted}, but {here} is installed",
            hint=f'Run pip install "spacy{wanted}"',
        )
    return pipeline


def named_entities(model: str) -> Callable[[str, tuple[str, ...]], list[Finding]]:
    """A function from a text and entity types to findings. Raises as `pipeline_of` does."""
    pipeline = pipeline_of(model, ("parser", "senter", "lemmatizer", "attribute_ruler"))
    lock = threading.Lock()

    def find(text: str, entities: tuple[str, ...]) -> list[Finding]:
        read = recased(text)
        with lock:
            proposed = _proposed(pipeline, text, read)
        return sorted(finding for finding in _decided(read, proposed) if finding.label in entities)

    return find


def _proposed(pipeline: Any, text: str, read: str) -> list[_Name]:
    """Names by position, with the weight of each kind; no two overlap."""
    names: list[_Name] = [(start, end, {"place": _BELIEF}) for start, end in block_lines(read)]
    capitals = any(character.isupper() for character in text)
    for start, end in _parts(read):
        document: Any = pipeline(read[start:end])
        for name in (*_entities(document, start, read), *(_proper_nouns(document, start) if capitals else ())):
            if all(name[1] <= other[0] or name[0] >= other[1] for other in names):
                names.append(name)
    return sorted(names, key=lambda name: name[0])


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """The text as a whole, or its lines where they are short: the model ignores line breaks."""
    lines = [found.span() for found in re.finditer(r"[^\n]*\S[^\n]*", text)]
    lengths = sorted(end - start for start, end in lines)
    if len(lines) > 1 and lengths[len(lengths) // 2] < _SHORT_LINES:
        yield from lines
    else:
        yield 0, len(text)


def _entities(document: Any, offset: int, text: str) -> Iterator[_Name]:
    for entity in document.ents:
        kind = _LABELS.get(str(entity.label_))
        if kind is None and entity.label_ not in _OTHER:
            continue
        start, end = offset + int(entity.start_char), offset + int(entity.end_char)
        while start < end and not text[start].isalnum():
            start += 1
        if text[start : start + 4].lower() == "the ":
            start += 4
        while end > start and not (text[end - 1].isalnum() or text[end - 1] == ")"):
            end -= 1
        if text[start:end].endswith(("'s", "’s")):
            end -= 2
        part = _PART.search(text, start, end) if kind == "organization" else None
        if part:
            yield part.start("place"), end, {"place": _BELIEF}
        elif end - start > 1:
            yield start, end, {kind: _BELIEF} if kind else {}


def _proper_nouns(document: Any, offset: int) -> Iterator[_Name]:
    """Runs of words that the tagger marks as proper nouns."""
    run: list[Any] = []
    for token in (*document, None):
        if token is not None and _is_name(token) and (not run or token.idx - run[-1].idx - len(run[-1]) <= 1):
            run.append(token)
            continue
        if run:
            belief = _UNLABELLED if any(word.is_oov for word in run) else _UNLABELLED_KNOWN
            last = run[-1]
            yield offset + run[0].idx, offset + last.idx + len(last), dict.fromkeys(KINDS, belief)
        run = [token] if token is not None and _is_name(token) else []


def _is_name(token: Any) -> bool:
    return (
        token.tag_ in ("NNP", "NNPS", "PROPN")
        and bool(token.is_alpha)
        and len(token) > 1
        and token.text[0].isupper()
        and not NO_NAME.search(token.text)
    )


def _decided(text: str, names: list[_Name]) -> Iterator[Finding]:
    weighed_names = [weighed(text, start, end, believed) for start, end, believed in names]
    _shared(text, names, weighed_names)
    for (start, end, believed), weights in zip(names, weighed_names, strict=True):
        kind = max(KINDS, key=lambda each: weights[each])
        doubt = max(0.02, 1 - sum(believed.values()))
        if weights[kind] / (sum(weights.values()) + doubt) >= _ENOUGH:
            yield Finding(start, end, kind)


def _shared(text: str, names: list[_Name], weights: list[dict[str, float]]) -> None:
    """Names in a list of three or more are of one kind: each gets the others' weight too."""
    at = 0
    while at < len(names):
        last = at
        while last + 1 < len(names) and re.fullmatch(r",? (?:and |or )?", text[names[last][1] : names[last + 1][0]]):
            last += 1
        if last - at >= 2:
            members = range(at, last + 1)
            for kind in KINDS:
                mean = 1.0
                for each in members:
                    mean *= (weights[each][kind] / sum(weights[each].values())) ** (1 / len(members))
                for each in members:
                    weights[each][kind] *= mean
        at = last + 1
