"""Whose signatures count: public keys that were pinned, in a file that the database's writers cannot change.

The server says which key each chain has, but whoever can write the database could register a chain of their own. With a
file of pinned keys, a statement counts only when one of them signed it.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sluicegate.errors import CorruptError
from sluicegate.home import home, private_folder, write_private

__all__ = ["fingerprint", "pin", "pinned", "pins_file", "unpin"]


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's 32 bytes, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def pins_file() -> Path:
    return home() / "keys" / "audit-trusted.json"


def pinned(path: Path | None = None) -> dict[str, str] | None:
    """By fingerprint, what each key is said to be; None when no key was pinned. Raises `RunError` SG606."""
    path = path or pins_file()
    if not path.exists():
        return None
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(about) for key, about in told.items()}
    except (ValueError, AttributeError) as error:
        raise CorruptError(f"the pinned audit keys in {path} cannot be read", hint="Restore the file") from error


def pin(keys: Mapping[str, str], path: Path | None = None) -> None:
    """Trust these fingerprints from now on, beside those that are. Raises `OSError`."""
    path = path or pins_file()
    _write(path, {**(pinned(path) or {}), **keys})


def unpin(keys: Collection[str], path: Path | None = None) -> None:
    """Trust these fingerprints no longer. Raises `OSError`."""
    path = path or pins_file()
    _write(path, {key: about for key, about in (pinned(path) or {}).items() if key not in keys})


def _write(path: Path, keys: Mapping[str, str]) -> None:
    private_folder(path.parent)
    staged = path.with_suffix(".new")
    write_private(staged, json.dumps(dict(sorted(keys.items())), indent=2) + "\n")
    staged.replace(path)
