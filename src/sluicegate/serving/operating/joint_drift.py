"""Joint thresholds of the version that serves, tested for drift while it does."""

import logging

from sluicegate.errors import SluicegateError
from sluicegate.evals.joint.watching import watch_joint
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.versions import Versions

__all__ = ["watch"]

log = logging.getLogger(__name__)


def watch(versions: Versions, store: Store) -> None:
    """Test the joint scores of the version that serves; a failure is a warning."""
    workflow = versions.serving.workflow
    if workflow.config.router.joint is None:
        return
    incidents = Incidents()
    try:
        watch_joint(workflow, store, incidents)
    except SluicegateError as error:
        log.warning("the joint scores of %s could not be tested: %s", workflow.name, error)
    finally:
        incidents.disconnect()
