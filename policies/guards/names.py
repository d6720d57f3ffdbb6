"""People, places and organisations, found by an installed spaCy model.

spaCy comes with `pip install "sluicegate[ner]"`; no model does: the models are not on the package registry. Install one
(`python -m spacy download en_core_web_sm`, or a wheel of it) and name it in the workflow:
`pii: {model: en_core_web_sm, entities: [person, …]}`.
"""

from collections.abc import Callable
from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import Finding

__all__ = ["named_entities"]

_LABELS = {
    "PERSON": "person",
    "PER": "person",
    "GPE": "place",
    "LOC": "place",
    "FAC": "place",
    "ORG": "organization",
}
"""Labels of the English (OntoNotes) and of the other languages' (WikiNER) models."""


def named_entities(model: str) -> Callable[[str, tuple[str, ...]], list[Finding]]:
    """A function from a text and entity types to findings. `model` is a package name or a folder.

    Raises `PolicyError` SG203 when spaCy or the model is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise PolicyError(
            "SG203",
            f"the spaCy model {model!r} needs spaCy, which is not installed",
            mend='Run pip install "sluicegate[ner]", or take person, place and organization out of `pii`',
        ) from error
    try:
        pipeline: Any = spacy.load(model, exclude=["parser", "lemmatizer", "attribute_ruler"])
    except (OSError, ValueError) as error:
        raise PolicyError(
            "SG203",
            f"the spaCy model {model!r} is not installed",
            mend=f"Install it (python -m spacy download {model}), or take person, place and organization out of `pii`",
        ) from error

    def find(text: str, entities: tuple[str, ...]) -> list[Finding]:
        found: list[Finding] = []
        for entity in pipeline(text).ents:
            label = _LABELS.get(str(entity.label_))
            if label in entities:
                found.append(Finding(int(entity.start_char), int(entity.end_char), label))
        return found

    return find
