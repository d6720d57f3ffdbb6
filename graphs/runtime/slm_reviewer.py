"""The small model's review of a draft, for the guard `slm-review`."""

from sluicegate.policies.guards.checking import Review
from sluicegate.services import Message, ModelRequest, Models

__all__ = ["reviewer"]

_SCHEMA = {
    "type": "object",
    "properties": {"proper": {"enum": ["yes", "no"]}},
    "required": ["proper"],
    "additionalProperties": False,
}
_SYSTEM = (
    "You check answers before they are sent. An answer is proper when it answers the question, is polite, "
    "and gives away nothing private. Reply as JSON."
)


def reviewer(models: Models, role: str = "slm") -> Review:
    """Calls the role's model. Raises `ModelError` when none answers, `StoppedError` when none may: failed checks."""

    async def review(question: str, text: str) -> bool | None:
        asked = [Message("system", _SYSTEM), Message("user", f"Question: {question}\nAnswer: {text}")]
        completion = await models.chat(ModelRequest(role, asked, max_tokens=16, schema=_SCHEMA))
        return completion.parsed["proper"] == "yes"

    return review
