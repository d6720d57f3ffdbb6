"""A model as judge of answers, admitted only by its probe.

The judge is asked what the probe ``review`` asks: does a source support a claim? Here the source is the answer, the
claim what was expected. A model whose `sluicegate models probe` found less than `MINIMUM` right, or that was never
probed, does not judge. Even an admitted judge errs: its metric ``judged`` is separate from ``correct``.
"""

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.probes.probe_results import admitted, result
from sluicegate.models.provider import Provider
from sluicegate.models.providers.registry import provider_for
from sluicegate.services import Message, ModelRequest

__all__ = ["MINIMUM", "Judge", "admit"]

MINIMUM = 0.85
"""Minimum accuracy on the probe ``review``."""

_SCHEMA = {"type": "object", "properties": {"supported": {"enum": ["yes", "no"]}}, "required": ["supported"]}
_SYSTEM = 'Does the source support the claim? Answer as {"supported": "yes"} or {"supported": "no"}.'


class Judge:
    """Says whether an answer supports what was expected."""

    def __init__(self, models: ModelSet, role: str, identity: str) -> None:
        self._models, self._role, self.identity = models, role, identity

    async def verdict(self, question: str, answer: str, expected: str) -> dict[str, float]:
        """``{"judged": 1.0 or 0.0}``; empty when the judge gave no usable verdict."""
        user = f"Source: Question: {question} Answer: {answer}\nClaim: {expected}"
        asked = [Message("system", _SYSTEM), Message("user", user)]
        try:
            said = await self._models.chat(ModelRequest(self._role, asked, max_tokens=16, schema=_SCHEMA))
        except ModelError:
            return {}
        # a fallback that was never probed must not judge in another's name
        return {} if said.fallback else {"judged": float(said.parsed["supported"] == "yes")}


async def admit(config: ModelConfig, models: ModelSet, role: str, *, provider: Provider | None = None) -> Judge:
    """The role's first model as judge; a fallback never is, since it was not the one that was probed.

    Raises `ModelError` SG315 when its probe does not admit it, or what asking it raises where it does not answer.
    """
    try:
        identity = await (provider or provider_for(config)).identity()
    except ModelError as error:
        what = f"the judge {config.use} did not answer, and a fallback never judges: {error.message}"
        raise ModelError(error.code, what, hint=error.hint) from error
    if admitted(identity, "review", MINIMUM):
        return Judge(models, role, identity)
    found = result(identity, "review")
    measured = f"answers {found.accuracy:.0%} of the probe `review` correctly" if found else "was never probed"
    raise ModelError(
        "SG315",
        f"{config.use} may not judge: it {measured}, and a judge needs {MINIMUM:.0%}",
        hint="Run `sluicegate models probe`, or name a stronger role with --judge",
    )
