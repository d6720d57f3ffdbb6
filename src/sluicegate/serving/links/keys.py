"""The keys of the home that sign approval links: a line each, the newest first. It signs; all of them verify.

Two are kept, so that links made before a rotation work until they are late. Machines that share a server and are to
take each other's links share this file (`SLUICEGATE_LINK_KEYS`).
"""

import os
import secrets
import stat
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sluicegate.errors import CorruptError, UnwritableError
from sluicegate.home import home, make_private, write_private
from sluicegate.observe.audit.log import open_audit
from sluicegate.storage.file_lock import locked_file

__all__ = ["link_keys", "rotate_link_keys"]

_KEPT = 2
_BYTES = 32
_PURPOSE = b"sluicegate approval link 1"
"""Binds what is derived from the file to this use of it."""


def link_keys() -> list[bytes]:
    """The keys, the one that signs first; made when absent. Raises `RunError` SG606 (damaged, or readable by others)
    or SG607."""
    path = _file()
    try:
        if not path.exists():
            make_private(path, _fresh().encode())
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CorruptError(f"the keys {path} are readable by other users", hint=f"chmod 600 {path}, then rotate it")
        found = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
    except OSError as error:
        raise UnwritableError(f"the keys {path} cannot be read or created: {error.strerror}") from error
    except ValueError as error:
        raise CorruptError(f"{path} is not a file of keys", hint="Restore it from a backup, or delete it") from error
    if not found or any(len(secret) != _BYTES for secret in found):
        raise CorruptError(f"{path} is not a file of keys", hint="Restore it from a backup, or delete it")
    return [HKDF(hashes.SHA256(), 32, None, _PURPOSE).derive(secret) for secret in found]


def rotate_link_keys(*, by: str) -> None:
    """Sign with a new key from now on. Links of the one before still work, those of the one before that do not.

    Raises as `link_keys` and the audit log do.
    """
    link_keys()
    with closing(open_audit()) as log:
        log.append("approval.link.rotated", actor=by)
    path = _file()
    with locked_file(path.with_suffix(".lock")):
        kept = path.read_text(encoding="ascii").splitlines(keepends=True)[: _KEPT - 1]
        staged = path.with_suffix(f".{secrets.token_hex(4)}")
        write_private(staged, _fresh() + "".join(kept))
        staged.replace(path)


def _fresh() -> str:
    return secrets.token_hex(_BYTES) + "\n"


def _file() -> Path:
    configured = os.environ.get("SLUICEGATE_LINK_KEYS")
    return Path(configured).expanduser() if configured else home() / "keys" / "links.key"
