"""A real S3 server on the loopback address: versitygw over a folder."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.go_build import PROGRAMS
from tests.support.loopback import free_port
from tests.support.waiting import until

__all__ = ["BUCKET", "S3Server", "s3", "s3_server"]

BUCKET = "knowledge"
_KEY, _SECRET = "test-key", "test-secret"


class S3Server:
    """Skips the test that asks for one where no server is at hand."""

    def __init__(self, folder: Path) -> None:
        self._binary = PROGRAMS["versitygw"].found()
        if not self._binary:
            pytest.skip("no S3 server: `make versitygw` builds one, which needs Go")
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client is told by."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", str(self._folder)],
            env={**os.environ, "ROOT_ACCESS_KEY": _KEY, "ROOT_SECRET_KEY": _SECRET},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> Any:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code
        except httpx.TransportError:
            return None


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The session's server, which this process is told of; for tests that leave it running."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
