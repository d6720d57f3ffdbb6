"""A small data set that a head learns at once, and embeddings that need no model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sluicegate.routing.data import Escalations, Labelled
from sluicegate.routing.intent.artifact import Artifact, read_artifact, write_artifact
from sluicegate.routing.intent.fit import FitSettings, fit_intents

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


def secret_rows(count: int, seed: int) -> Labelled:
    """Rows whose words say nothing of their label; only `embed_secret` can tell."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(FILLERS, 3)) + f" {random.integers(10**9)}" for _ in range(count)]
    return Labelled(texts, [f"topic{crc32(text.encode()) % 3}" for text in texts], {"rows": str(seed)})


def secret_vector(text: str) -> NDArray[np.float32]:
    """A unit vector near one of three directions, the one of the text's secret label."""
    code = crc32(text.encode())
    found = np.random.default_rng(code).normal(0, 0.15, 16)
    found[code % 3] += 1
    return (found / np.linalg.norm(found)).astype(np.float32)


async def embed_secret(texts: Sequence[str], told: Callable[[int, int], None]) -> NDArray[np.float32]:
    told(len(texts), len(texts))
    return np.stack([secret_vector(text) for text in texts])


async def embed_secret_now(texts: Sequence[str]) -> list[list[float]]:
    return [secret_vector(text).tolist() for text in texts]


EMBEDDER = {"model": "test:words", "fingerprint": "16:0"}


async def fitted_at(folder: Path, *, embeddings: bool, settings: FitSettings | None = None) -> Artifact:
    fitted = await fit_intents(
        secret_rows(240, 0) if embeddings else rows(240, 0),
        secret_rows(200, 1) if embeddings else rows(200, 1),
        settings or FitSettings(oos_label=None if embeddings else "oos"),
        embed=embed_secret if embeddings else None,
        embedder=EMBEDDER if embeddings else None,
        work=folder.parent / "work",
    )
    write_artifact(folder, fitted.head, fitted.calibrator, fitted.card)
    return read_artifact(folder)


def jsonl(data: Labelled) -> str:
    pairs = zip(data.texts, data.labels, strict=True)
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs)


SOURCE = "Hold the power button for ten seconds, then the router restarts by itself."


def graded(count: int, seed: int, *, noise: float = 0.1) -> list[dict[str, Any]]:
    """Answers that are right when grounded, but for the noise; the log-probabilities say nothing."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        grounded = bool(random.integers(2))
        text = "Hold the power button." if grounded else "Invent something entirely different instead."
        right = grounded if random.uniform() > noise else not grounded
        logprobs = random.normal(-0.5, 0.2, 5).clip(max=0).tolist()
        rows.append({"text": text, "sources": [SOURCE], "right": bool(right), "logprobs": logprobs, "model": "m"})
    return rows


def made(count: int, seed: int) -> Escalations:
    """Prompts on proofs need the large model, prompts on capitals do not; one in five goes the other way."""
    random = np.random.default_rng(seed)
    prompts, weak, strong = [], [], []
    for number in range(count):
        hard = bool(random.integers(2))
        odd = random.uniform() < 0.2
        topic = "prove the theorem" if hard else "name the capital"
        prompts.append(f"{topic} number {number} {random.choice(['now', 'please', 'again'])}")
        weak.append(hard == odd)
        strong.append(bool(random.uniform() < 0.95))
    return Escalations(prompts, weak, strong, {"made": "0"})
