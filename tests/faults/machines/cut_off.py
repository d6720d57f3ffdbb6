"""Plays one machine that is cut from the database while it carries a run; prints who has noticed.

Run as a program of its own, for it leaves the network that it was started in.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from sluicegate.errors import ServerError
from sluicegate.storage.postgres import Server
from tests.faults.machines.database import Database
from tests.faults.machines.network import BRIDGE, Cable, enter, isolate

_PORT = 54321


def _play(folder: Path) -> None:
    isolate()
    database = Database(folder, f"127.0.0.1,{BRIDGE}", _PORT)
    cable = Cable(0)
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, cable.path, database.url(BRIDGE)]
    machine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert machine.stdin
    assert machine.stdout
    other = Server(database.url())
    try:
        assert machine.stdout.readline() == "holds the run\n"
        assert not other.hold("r")
        cable.cut_from_database()
        machine.stdin.write("\n")
        machine.stdin.flush()
        while not other.hold("r"):
            time.sleep(0.1)
        print("another machine goes on with the run", flush=True)
        print(machine.stdout.readline(), end="", flush=True)
    finally:
        machine.kill()
        machine.wait()
        other.close()
        cable.close()
        database.kill()


def _machine(path: str, url: str) -> None:
    enter(path)
    server = Server(url)
    assert server.hold("r")
    with server.connection("r") as connection:
        connection.execute("CREATE TABLE steps (n int)")
    print("holds the run", flush=True)
    sys.stdin.readline()
    try:
        with server.connection("r") as connection:
            connection.execute("INSERT INTO steps VALUES (1)")
    except ServerError as error:
        print(f"the machine that is cut off stops: {error.code}", flush=True)
    with suppress(EOFError):
        sys.stdin.readline()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _play(Path(sys.argv[1]))
    else:
        _machine(*sys.argv[1:])
