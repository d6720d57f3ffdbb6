"""Fingerprints, which tell whether two embedders give the same vectors, whatever their server or name.

A fingerprint is a few components of the vectors of some probe sentences. The same weights in another format or on
another server agree to about 0.003 per component; another model differs by about 0.05 in most of them. Two servers
with the same weights may still read a text differently: Ollama 0.24 strips no accents and cuts typographic quotes into
bytes, so that the vectors of such texts have little in common with llama.cpp's (cosine 0.06 seen). The probes therefore
are texts of every kind that a tokenizer may treat in a way of its own.
"""

from collections.abc import Sequence

__all__ = ["EARLIER_PROBES", "PROBES", "fingerprint_of", "same_embedder", "with_all_probes"]

PROBES = (
    "The invoice from March is still open.",
    "A red kite circles above the harbour.",
    "Crème brûlée à Zürich, señor Müller?",
    "“Don’t panic” – it’s only a ‘test’ …",
    "请重置我的密码。",
    "パスワードを忘れました",
    "비밀번호를 재설정해 주세요",
    "Не удаётся войти в учётную запись",
    "Πώς αλλάζω τον κωδικό μου;",
    "نسيت كلمة المرور",
    "It costs $5 + 3 % ~ €8: <a href=x> `ls -l | wc` ^C, ERR_0x80070005",
    "👍 done 😀",
)
EARLIER_PROBES = 2
"""Release 0.1.0 had the first two only."""
COMPONENTS = 16
SCALE = 1000
TOLERANCE = 10


def fingerprint_of(vectors: Sequence[Sequence[float]]) -> str:
    """The fingerprint of an embedder, from its vectors of `PROBES`: ``384:-12,40,…``."""
    parts = [str(round(value * SCALE)) for vector in vectors for value in vector[:COMPONENTS]]
    return f"{len(vectors[0])}:{','.join(parts)}"


def same_embedder(one: str, other: str) -> bool:
    """Whether two fingerprints are of embedders with interchangeable vectors, by the probes that both have."""
    try:
        (size, values), (other_size, other_values) = _parsed(one), _parsed(other)
    except ValueError:
        return False
    lengths = {len(values), len(other_values)}
    return (
        size == other_size
        and (len(lengths) == 1 or min(lengths) == EARLIER_PROBES * min(size, COMPONENTS))
        and all(abs(x - y) <= TOLERANCE for x, y in zip(values, other_values, strict=False))
    )


def with_all_probes(fingerprint: str) -> bool:
    """Whether it says how texts of every kind are read; one of release 0.1.0 does not."""
    size, values = _parsed(fingerprint)
    return len(values) == len(PROBES) * min(size, COMPONENTS)


def _parsed(fingerprint: str) -> tuple[int, list[int]]:
    size, _, values = fingerprint.partition(":")
    return int(size), [int(value) for value in values.split(",")]
