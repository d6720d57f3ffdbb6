"""A real Ollama server of the tests' own, with the project's own weights under the names that the stand-in uses."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from sluicegate.models.embedded import weights
from tests.support.loopback import free_port
from tests.support.ollama_server import MODELS
from tests.support.waiting import until

__all__ = ["RealOllama", "bring_models", "running"]

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


@dataclass(frozen=True)
class RealOllama:
    """A running server."""

    url: str
    process: int = 0
    """Its process, when the tests started it."""

    def kill_runners(self) -> None:
        """Kill the processes of its models, as the kernel does when memory runs out."""
        _kill(_children(self.process))


@contextmanager
def running(binary: Path, folder: Path) -> Generator[RealOllama]:
    """The server on a free port, at home in `folder`, without cloud; it has stopped when the block ends."""
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "OLLAMA_HOST": address,
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_NUM_PARALLEL": "1",
        "OLLAMA_KEEP_ALIVE": "30m",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([binary, "serve"], env=environment, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _answers(address), "the server did not start")
        assert process.poll() is None, (folder / "server.log").read_text(encoding="utf-8", errors="replace")
        yield RealOllama(f"http://{address}", process.pid)
    finally:
        runners = _children(process.pid)
        process.terminate()
        process.wait()
        _kill(runners)


def _kill(processes: Iterable[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # gone since they were listed
            os.kill(process, signal.SIGKILL)


def bring_models(url: str) -> None:
    """Create the models that the tests use and the server does not have, with one thread each."""
    with httpx.Client(base_url=url, timeout=None, trust_env=False) as client:
        present = {each["name"] for each in client.get("/api/tags").json()["models"]}
        for name, weight in MODELS.items():
            if name in present:
                continue
            content = weights.located(weight).read_bytes()
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            client.post(f"/api/blobs/{digest}", content=content).raise_for_status()
            made = {
                "model": name,
                "files": {f"{weight}.gguf": digest},
                "parameters": {"num_thread": 1},
                "stream": False,
            }
            # the template in the file writes it where a chat has no message of the system's; Ollama takes another one
            own = {"system": SYSTEM} if weights.WEIGHTS[weight].kind == "chat" else {}
            client.post("/api/create", json=made | own | {"stream": False}).raise_for_status()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/api/version", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [[int(number) for number in line.split()] for line in listed.stdout.splitlines()]
    return [child for child, parent in pairs if parent == process]
