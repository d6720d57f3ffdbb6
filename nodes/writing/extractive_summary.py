"""Extractive summary of a request: which part of it is the text to summarise, and that text's most central sentences.

As with `quoting`, nothing is written, so nothing can be invented. A sentence counts by the cosine of its embedding
and the whole text's: nearness to the centre is what extractive summaries have ranked by since Radev et al. (2004,
"Centroid-based summarization of multiple documents").
"""

import re

from sluicegate.nodes.writing.quoting import SHORTLIST, Candidate, Shortlist, cosines
from sluicegate.segmentation import sentences
from sluicegate.services import EmbeddingRequest, Services

__all__ = ["excerpt", "material", "pieces"]

_QUOTED = re.compile(r"[\"“„](?P<text>[^\"“”„]+)[\"”“]")
_AFTER = re.compile(r":\s+(?P<text>\S.*)", re.DOTALL)
_LEAST_WORDS = 6
"""A text to summarise has more words than the instruction, or than a name in quotation marks."""
_MOST_BEFORE = 20
"""Maximum words before a colon that can still be the instruction to summarise."""
_FEW = 3
_CLAUSE = re.compile(r"[;,]\s+")


def material(request: str) -> str:
    """The text to summarise in a request: what is in quotation marks, else what follows the first colon, else what
    follows the questions at its start; else the whole request."""
    quoted = max((found["text"] for found in _QUOTED.finditer(request)), key=len, default="")
    if len(quoted.split()) >= _LEAST_WORDS:
        return quoted.strip()
    after = _AFTER.search(request)
    if after and len(after["text"].split()) >= _LEAST_WORDS and after.start() <= _end_of(request, _MOST_BEFORE):
        return after["text"].strip()
    parts = sentences(request)
    first = next((n for n, part in enumerate(parts) if not part.endswith("?")), 0)
    return " ".join(parts[first:])


def pieces(text: str) -> list[str]:
    """Its sentences; where these are fewer than three, their clauses, none shorter than three words."""
    parts = sentences(text)
    if len(parts) >= _FEW:
        return parts
    found: list[str] = []
    for part in parts:
        own: list[str] = []
        for clause in _CLAUSE.split(part):
            if own and min(len(clause.split()), len(own[-1].split())) < _FEW:
                own[-1] += f", {clause}"
            else:
                own.append(clause)
        found += own
    return found


async def excerpt(services: Services, request: str) -> Shortlist:
    """The pieces to quote from, most central first. Raises `StoppedError` when the embedder may not be called."""
    text = material(request)
    parts = pieces(text)
    if not parts:
        return Shortlist()
    whole, *each = (await services.models.embed(EmbeddingRequest("embedder", [text, *parts]))).vectors
    ranked = sorted(
        (Candidate(0, n, part, near) for n, (part, near) in enumerate(zip(parts, cosines(whole, each), strict=True))),
        key=lambda candidate: -candidate.score,
    )
    return Shortlist(ranked[:SHORTLIST])


def _end_of(text: str, words: int) -> int:
    """Where the first `words` words end."""
    found = list(re.finditer(r"\S+", text))[:words]
    return found[-1].end() if found else 0
