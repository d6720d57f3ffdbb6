"""Which executor a service has: the machines that share a server carry each other's runs, one alone carries its own."""

from functools import partial

from sluicegate.errors import RunError
from sluicegate.extras import extra
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.embedded import EmbeddedExecutor
from sluicegate.serving.execution.executor import Executor
from sluicegate.serving.execution.recovery import Recovery
from sluicegate.serving.execution.sweep import Sweep
from sluicegate.serving.in_progress import RunsInProgress
from sluicegate.serving.limits import AdmissionController
from sluicegate.storage.postgres import configured

__all__ = ["open_executor"]


def open_executor(
    carrier: Carrier,
    store: Store,
    in_progress: RunsInProgress,
    admission: AdmissionController,
    *,
    channel: str,
    work: bool,
) -> Executor:
    """The executor of one service. `work` False: with a server, other machines carry all of its runs. Blocks.

    Raises `RunError` SG681 without the extra `dbos`, SG625 and SG682 of the server, and SG606 to SG608 of the home.
    """
    server = configured()
    if server is None:
        recovery = Recovery(home(), store, channel=channel)
        sweep = Sweep(carrier, recovery, in_progress, turns=admission.recovering)
        return EmbeddedExecutor(carrier, recovery, sweep, in_progress, admission.turns)
    with extra("dbos", "carrying runs on a server that machines share", partial(RunError, "SG681")):
        from sluicegate.serving.execution.durable import DurableExecutor
    return DurableExecutor(server, carrier, in_progress, admission, channel=channel, work=work)
