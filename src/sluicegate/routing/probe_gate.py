"""Admission to label decoding: only models that pass `sluicegate models probe`.

Small models answer any question in the form asked for, right or not. So a model that was never probed on `label`, or
fell short of its minimum there, does not judge: a cascade leaves the head's opinion alone, and label decoding without a
head names a label that no branch on `router.threshold` trusts. Both say so once.
"""

import logging

from sluicegate.services import Models

__all__ = ["ProbeGate"]

log = logging.getLogger(__name__)


class ProbeGate:
    """Checked before each use, so that a probe counts as soon as it is stored; warns at the first refusal."""

    def __init__(self, models: Models, role: str, instead: str) -> None:
        """`instead` says what happens without the role's model, for the warning."""
        self._models, self._role, self._instead = models, role, instead
        self._warned = False

    async def __call__(self) -> bool:
        if await self._models.admitted(self._role, "label"):
            return True
        if not self._warned:
            self._warned = True
            log.warning(
                "%s may not decode labels: its probe of `label` is missing or below the minimum, %s: "
                "run `sluicegate models probe --task label`",
                self._models.describe(self._role),
                self._instead,
            )
        return False
