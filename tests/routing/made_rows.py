"""A small data set that a head learns at once, and embeddings that need no model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sluicegate.routing.artifact import Artifact, read_artifact, write_artifact
from sluicegate.routing.data import Labelled
from sluicegate.routing.fit import FitSettings, fit_intents

TOPICS = {
    "password": ["reset my password", "locked out of my account", "password expired", "forgot the login code"],
    "printer": ["printer is jammed", "no toner in the printer", "scan to mail fails", "print queue stuck"],
    "network": ["wifi is slow", "vpn drops every hour", "cannot reach the network drive", "no internet at my desk"],
    "oos": ["what is the capital of france", "sing a song", "who won the match", "best pasta recipe"],
}
FILLERS = ["please", "hello", "since monday", "again", "urgent", "in room 4", "on my laptop", "thanks", "today", "help"]


def rows(count: int, seed: int, topics: Sequence[str] = tuple(TOPICS)) -> Labelled:
    """`count` distinct rows over `topics`, in turn."""
    random = np.random.default_rng(seed)
    seen: dict[str, str] = {}
    while len(seen) < count:
        topic = topics[len(seen) % len(topics)]
        words = [*random.choice(FILLERS, 2), *random.choice(TOPICS[topic], 1), str(random.integers(1000))]
        seen.setdefault(" ".join(words), topic)
    return Labelled(list(seen), list(seen.values()), {"rows": str(seed)})


def vector(text: str, dimensions: int = 16) -> NDArray[np.float32]:
    """A unit vector made of the text's words: texts with common words are near each other."""
    total = np.zeros(dimensions)
    for word in text.split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        total += np.random.default_rng(seed).standard_normal(dimensions)
    return (total / (np.linalg.norm(total) or 1)).astype(np.float32)


async def embed_all(texts: Sequence[str], told: Callable[[int, int], None]) -> NDArray[np.float32]:
    told(len(texts), len(texts))
    return np.stack([vector(text) for text in texts])


async def embed_now(texts: Sequence[str]) -> list[list[float]]:
    return [vector(text).tolist() for text in texts]


EMBEDDER = {"model": "test:words", "fingerprint": "16:0"}


async def fitted_at(folder: Path, *, embeddings: bool, settings: FitSettings | None = None) -> Artifact:
    fitted = await fit_intents(
        rows(240, 0),
        rows(200, 1),
        settings or FitSettings(oos_label="oos"),
        embed=embed_all if embeddings else None,
        embedder=EMBEDDER if embeddings else None,
        work=folder.parent / "work",
    )
    write_artifact(folder, fitted.head, fitted.calibrator, fitted.card)
    return read_artifact(folder)


def jsonl(data: Labelled) -> str:
    pairs = zip(data.texts, data.labels, strict=True)
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs)
