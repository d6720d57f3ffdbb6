"""Objects by key, with conditional writes: in a bucket of S3, or in a folder that machines share.

All that a store has to do is here. A write under a condition happens or does not: of two that replace the same state of
an object, one wins. The content of such an object is unlike any other that was or will be written under its key.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from sluicegate.errors import RetrievalError
from sluicegate.extras import extra
from sluicegate.storage.file_lock import locked_file

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = ["Listed", "Objects", "Stored", "open_objects"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read or written."""

    content: bytes
    tag: str
    """Changes whenever the content does."""


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    written: float
    """Seconds since the epoch, by the store's own clock."""


class Objects(Protocol):
    """Each method raises `RetrievalError` SG700 (unreachable) or SG701 (refused)."""

    url: str

    def get(self, key: str, known: Stored | None = None) -> Stored | None:
        """A small object; None when absent, `known` itself when it is still that."""
        ...

    def put(self, key: str, content: bytes, over: Stored | None) -> Stored | None:
        """Write over exactly that state of the object, or make it; None when it is in another state."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write an object of any size from a file, unconditionally."""
        ...

    def download(self, key: str, path: Path) -> str | None:
        """Write a file, and return the SHA-256 of its content; None when the object is absent."""
        ...

    def list(self, prefix: str) -> list[Listed]:
        """Every object under a prefix that ends in a slash."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Those that are absent are passed over."""
        ...

    def age(self, key: str) -> float:
        """Seconds since the object was written, by the store's own clock; infinite when it is absent."""
        ...


def open_objects(url: str) -> Objects:
    """The objects of a store, by the URL or path that `IndexConfig.store` takes.

    Raises `RetrievalError` SG701 without the extra `s3`.
    """
    return _Bucket(url) if "://" in url else _Folder(url)


class _Folder:
    """A folder on a file system that machines share. A conditional write holds a lock that ends with its process."""

    def __init__(self, path: str) -> None:
        self.url = path
        self._root = Path(path)

    def get(self, key: str, known: Stored | None = None) -> Stored | None:
        with self._told():
            try:
                content = (self._root / key).read_bytes()
            except FileNotFoundError:
                return None
        found = Stored(content, hashlib.sha256(content).hexdigest())
        return known if found == known else found

    def put(self, key: str, content: bytes, over: Stored | None) -> Stored | None:
        with self._told():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked_file(self._root / ".lock"):
                if self.get(key) != over:
                    return None
                with self._fresh(key) as fresh:
                    fresh.write_bytes(content)
        return Stored(content, hashlib.sha256(content).hexdigest())

    def upload(self, key: str, path: Path) -> None:
        with self._told(), self._fresh(key) as fresh, path.open("rb") as source, fresh.open("wb") as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)

    def download(self, key: str, path: Path) -> str | None:
        digest = hashlib.sha256()
        with self._told():
            try:
                source = (self._root / key).open("rb")
            except FileNotFoundError:
                return None
            with source, path.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        return digest.hexdigest()

    def list(self, prefix: str) -> list[Listed]:
        with self._told():
            found = sorted(path for path in (self._root / prefix).rglob("*") if path.is_file())
            return [Listed(path.relative_to(self._root).as_posix(), path.stat().st_mtime) for path in found]

    def delete(self, keys: Iterable[str]) -> None:
        with self._told():
            for key in keys:
                (self._root / key).unlink(missing_ok=True)

    def age(self, key: str) -> float:
        with self._told():
            try:
                written = (self._root / key).stat().st_mtime
            except FileNotFoundError:
                return float("inf")
            probe = self._root / f".clock-{secrets.token_hex(4)}"
            probe.touch()
            try:
                return probe.stat().st_mtime - written
            finally:
                probe.unlink()

    @contextmanager
    def _fresh(self, key: str) -> Generator[Path]:
        """A file that becomes the object when it is whole and on the disk."""
        place = self._root / key
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            yield fresh
            # who may read the folder may read what is in it, and nobody else
            fresh.chmod(self._root.stat().st_mode & 0o666)
            _to_disk(fresh)
            fresh.replace(place)
            _to_disk(place.parent)
        finally:
            fresh.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except PermissionError as error:
            raise _refused(self.url, error.strerror or str(error)) from error
        except OSError as error:
            raise _unreachable(self.url, error.strerror or str(error)) from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_SHORT: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=6)}
_PATIENT: dict[str, Any] = {"max_retries": 6, "retry_timeout": timedelta(minutes=3)}

_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")


class _Bucket:
    """A prefix of an S3 bucket.

    Endpoint, region and credentials come from the standard AWS_* variables, a profile, or the machine's own role.
    """

    def __init__(self, url: str) -> None:
        with extra("s3", f"the store {url}", partial(RetrievalError, "SG701")):
            from obstore.store import S3Store

            self.url = url
            parts = urlsplit(url)
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
            chosen: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            if provider := _profile():
                chosen["credential_provider"] = provider
            elif region or endpoint:
                # servers other than Amazon's have no regions, but sign with this one's name
                chosen["region"] = region or "us-east-1"

            def client(seconds: int, retries: dict[str, Any]) -> "S3Store":
                options: Any = {"connect_timeout": "3s", "timeout": f"{seconds}s"}
                if endpoint.startswith("http://"):
                    options["allow_http"] = True
                with self._told():
                    return S3Store(
                        parts.netloc,
                        prefix=parts.path.strip("/"),
                        client_options=options,
                        retry_config=retries,  # type: ignore[arg-type]
                        **chosen,
                    )

            self._small = client(5, _SHORT)
            self._large = client(3_600, _PATIENT)

    def get(self, key: str, known: Stored | None = None) -> Stored | None:
        from obstore.exceptions import NotModifiedError

        try:
            with self._told():
                found = self._small.get(key, options={"if_none_match": known.tag} if known else {})
                return Stored(bytes(found.bytes()), found.meta["e_tag"] or "")
        except NotModifiedError:
            return known
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes, over: Stored | None) -> Stored | None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._told():
                made = self._small.put(key, content, mode={"e_tag": over.tag} if over else "create")
                return Stored(content, made["e_tag"] or "")
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            # a request that was repeated because its answer was lost finds what it has written itself
            now = self.get(key)
            return now if now and now.content == content else None

    def upload(self, key: str, path: Path) -> None:
        with self._told():
            self._large.put(key, path)

    def download(self, key: str, path: Path) -> str | None:
        digest = hashlib.sha256()
        try:
            with self._told(), path.open("wb") as target:
                for chunk in self._large.get(key).stream(min_chunk_size=_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def list(self, prefix: str) -> list[Listed]:
        with self._told():
            found = self._small.list(prefix).collect()
        return sorted(
            (Listed(each["path"], each["last_modified"].timestamp()) for each in found), key=lambda at: at.key
        )

    def delete(self, keys: Iterable[str]) -> None:
        with self._told():
            self._small.delete([*keys])

    def age(self, key: str) -> float:
        probe = f"clock/{secrets.token_hex(4)}"
        try:
            with self._told():
                written = self._small.head(key)["last_modified"]
                self._small.put(probe, b"")
                now = self._small.head(probe)["last_modified"]
                self._small.delete(probe)
        except FileNotFoundError:
            return float("inf")
        return (now - written).total_seconds()

    @contextmanager
    def _told(self) -> Generator[None]:
        """Lets through what callers decide by: `FileNotFoundError` for an object, and conditions that do not hold."""
        from obstore import exceptions as obstore

        try:
            yield
        except (obstore.AlreadyExistsError, obstore.PreconditionError, obstore.NotModifiedError):
            raise
        except (FileNotFoundError, obstore.BaseError) as error:
            code = _code(str(error))
            if isinstance(error, FileNotFoundError) and code in {"", "NoSuchKey"}:
                raise
            refused = isinstance(
                error, (FileNotFoundError, obstore.PermissionDeniedError, obstore.UnauthenticatedError)
            )
            if refused or re.match(r"No|Invalid|AccessDenied|Signature|Expired", code):
                raise _refused(self.url, code or _first_line(error)) from None
            raise _unreachable(self.url, code or _first_line(error)) from None


def _profile() -> Any:
    """What signs by a profile, where one is chosen or written down; None: by variables, or by the machine's role."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    written = any(Path("~/.aws", name).expanduser().is_file() for name in ("config", "credentials"))
    if not (written or any(os.environ.get(name) for name in _PROFILES)):
        return None
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(Session())
    except (BotoCoreError, ValueError) as error:
        raise RetrievalError(
            "SG701", f"the AWS profile cannot sign: {error}", hint="Sign in, or set AWS_PROFILE to a profile that can"
        ) from error


def _code(message: str) -> str:
    """S3's own code of an error, such as ``NoSuchBucket``."""
    found = re.search(r"<Code>([^<]{1,100})</Code>", message)
    return found[1] if found else ""


def _first_line(error: Exception) -> str:
    line = " ".join(str(error).split("Debug source")[0].split())
    return line[:200]


def _unreachable(url: str, why: str) -> RetrievalError:
    hint = "Check the network and AWS_ENDPOINT_URL" if "://" in url else "Check that the folder is mounted"
    return RetrievalError("SG700", f"the store {url} cannot be reached: {why}", hint=hint)


def _refused(url: str, why: str) -> RetrievalError:
    hint = (
        "Check the bucket's name, AWS_REGION, and the credentials that AWS_PROFILE or AWS_ACCESS_KEY_ID choose"
        if "://" in url
        else "Give this user the right to read the folder, and to write it where documents are ingested"
    )
    return RetrievalError("SG701", f"the store {url} refuses: {why}", hint=hint)
