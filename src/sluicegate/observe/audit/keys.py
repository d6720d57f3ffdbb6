"""The key that signs the audit log, and its public half.

The private key is in the home's `keys` folder with mode 0600, or where `SLUICEGATE_AUDIT_KEY` says. Whoever can read it
can forge the log: where that matters, keep it on another account, or keep checkpoints elsewhere.
"""

import base64
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sluicegate.errors import CorruptError, UnwritableError
from sluicegate.home import home, make_private

__all__ = ["private_key", "public_pem", "read_public", "signed", "valid"]


def private_key(path: Path | None = None) -> Ed25519PrivateKey:
    """The signing key, created when absent. Raises `RunError` SG606 (unreadable, or readable by others) or SG607."""
    configured = os.environ.get("SLUICEGATE_AUDIT_KEY")
    path = path or (Path(configured).expanduser() if configured else home() / "keys" / "audit.pem")
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CorruptError(f"the audit key {path} is readable by other users", hint=f"chmod 600 {path}")
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UnwritableError(f"the audit key {path} cannot be read or created: {error.strerror}") from error
    except ValueError as error:
        raise CorruptError(f"the audit key {path} is not a private key", hint="Restore it from a backup") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise CorruptError(f"the audit key {path} is not an Ed25519 key", hint="Restore it from a backup")
    return loaded


def _make(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    make_private(path, pem)


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public(pem: bytes) -> Ed25519PublicKey:
    """Raises `RunError` SG606 when `pem` is not an Ed25519 public key."""
    try:
        loaded = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise CorruptError("that is not a public key") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise CorruptError("that is not an Ed25519 public key")
    return loaded


def signed(key: Ed25519PrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message)).decode()


def valid(key: Ed25519PublicKey, signature: object, message: bytes) -> bool:
    try:
        key.verify(base64.b64decode(str(signature), validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
