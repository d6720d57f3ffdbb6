"""Fingerprints, which tell whether two embedders give the same vectors, whatever their server or name.

A fingerprint is a few components of the vectors of two probe sentences. The same weights in another format or on
another server agree to about 0.003 per component; another model differs by about 0.05 in most of them.
"""

from collections.abc import Sequence

__all__ = ["PROBES", "fingerprint_of", "same_embedder"]

PROBES = ("The invoice from March is still open.", "A red kite circles above the harbour.")
COMPONENTS = 16
SCALE = 1000
TOLERANCE = 10


def fingerprint_of(vectors: Sequence[Sequence[float]]) -> str:
    """The fingerprint of an embedder, from its vectors of `PROBES`: ``384:-12,40,…``."""
    parts = [str(round(value * SCALE)) for vector in vectors for value in vector[:COMPONENTS]]
    return f"{len(vectors[0])}:{','.join(parts)}"


def same_embedder(one: str, other: str) -> bool:
    """Whether two fingerprints are of embedders with interchangeable vectors."""
    try:
        (size, values), (other_size, other_values) = _parsed(one), _parsed(other)
    except ValueError:
        return False
    return (
        size == other_size
        and len(values) == len(other_values)
        and all(abs(x - y) <= TOLERANCE for x, y in zip(values, other_values, strict=True))
    )


def _parsed(fingerprint: str) -> tuple[int, list[int]]:
    size, _, values = fingerprint.partition(":")
    return int(size), [int(value) for value in values.split(",")]
