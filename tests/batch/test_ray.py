"""Ray as we start it: for this machine only, and gone with a start that fails."""

import json
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("ray_engine")
def test_nobody_on_the_network_can_connect() -> None:
    import ray

    [node] = ray.nodes()
    host, _, port = ray.get_runtime_context().gcs_address.partition(":")
    assert (host, node["NodeManagerAddress"]) == ("127.0.0.1", "127.0.0.1")
    for listens in (int(port), node["NodeManagerPort"], node["ObjectManagerPort"]):
        with socket.create_connection(("127.0.0.1", listens)):
            pass
        # an address of this machine too: what listens to all of them answers
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", listens))


FAILS = """
import json, os
from pathlib import Path
from ray._private.node import Node
from sluicegate.batch.engines import ray_engine
from sluicegate.errors import RunError

def children():
    return len(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())

def fail(_node):
    found.append(children())
    raise RuntimeError("overloaded")

found, Node.start_ray_processes, ray_engine._STARTS = [], fail, 2
try:
    ray_engine.RayEngine(1)
except RunError as error:
    print(json.dumps({"said": str(error), "during": found, "after": children()}))
"""


def test_a_start_that_fails_leaves_no_process() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FAILS], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["said"].startswith("SG709 Ray does not start: overloaded")
    first, second = found["during"]
    assert first == second > 0, "the second start finds nothing of the first one"
    assert found["after"] == 0
