"""A real OpenID provider: npm's oidc-provider, as `tests/support/oidc/package-lock.json` pins it, on the loopback."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.home import cache_dir
from sluicegate.storage.file_lock import locked_file

__all__ = ["RealProvider", "running", "said"]

HERE = Path(__file__).parent / "oidc"


@dataclass(frozen=True, slots=True)
class RealProvider:
    issuer: str
    process: subprocess.Popen[str]

    def control(self, **asked: Any) -> None:
        """Other `clients`, `rotate` its key, tokens of another `id_token_s`."""
        httpx.post(f"{self.issuer}/control", json=asked, timeout=60).raise_for_status()

    def token(self, client: str, secret: str, **form: str) -> str:
        """An access token of an application's own."""
        asked = {"grant_type": "client_credentials", "scope": "ask"} | form
        answer = httpx.post(f"{self.issuer}/token", data=asked, auth=(client, secret), timeout=60)
        return answer.raise_for_status().json()["access_token"]


def said(token: str) -> dict[str, Any]:
    """The claims of a token, unchecked."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@contextmanager
def running() -> Iterator[RealProvider]:
    """Skips the test where Node.js or npm's registry cannot be had."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-oidc-") as folder:
        (Path(folder) / "node_modules").symlink_to(_installed() / "node_modules")
        program = shutil.copy(HERE / "provider.mjs", folder)
        process = subprocess.Popen(
            ["node", program], stdout=subprocess.PIPE, text=True, env=os.environ | {"NODE_ENV": "production"}
        )
        try:
            assert process.stdout is not None
            issuer = process.stdout.readline().strip()
            assert issuer, "the provider did not start"
            yield RealProvider(issuer, process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def _installed() -> Path:
    """The user's cache of what the lock names; fetched once for each lock."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node.js: a real OpenID provider is npm's oidc-provider")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = cache_dir() / f"oidc-provider-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    with locked_file(folder / ".lock"):
        if not (folder / "node_modules").is_dir():
            with tempfile.TemporaryDirectory(prefix=".install-", dir=folder) as stage:
                for name in ("package.json", "package-lock.json"):
                    shutil.copy(HERE / name, stage)
                # their hashes are in the lock; no script of theirs is run
                install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
                done = subprocess.run(install, cwd=stage, capture_output=True, text=True, check=False)
                if done.returncode:
                    why = done.stderr[-300:]
                    pytest.skip(f"npm's registry cannot be reached, so there is no OpenID provider: {why}")
                (Path(stage) / "node_modules").rename(folder / "node_modules")
    return folder
