"""What a list of messages asks: its questions, the last of which is the request.

The rest of a history is only recognised, never believed: what an assistant is said to have answered is not read at
all, and a system message is refused, for what a workflow's models are told is the workflow's.
"""

from collections.abc import Sequence

from sluicegate.serving.http.openai.errors import CallRefusal
from sluicegate.serving.http.openai.messages import CallMessage

__all__ = ["questions"]

_TEXT = ("text", "input_text")


def questions(messages: Sequence[CallMessage], name: str) -> list[str]:
    """The questions of a history, each of all user messages between two answers. Raises `CallRefusal`.

    `name` is the parameter's.
    """
    asked: list[str] = []
    answered = True
    for place, message in ((f"{name}[{index}]", message) for index, message in enumerate(messages)):
        if message.type == "reasoning":
            continue
        if message.type != "message":
            raise CallRefusal(
                f"Unsupported value: '{place}.type' supports only 'message' with this model.",
                param=f"{place}.type",
                code="unsupported_value",
            )
        if message.role == "assistant":
            answered = True
            continue
        if message.role != "user":
            raise CallRefusal(
                f"Unsupported value: '{place}.role' supports only 'user' and 'assistant' with this model: what its "
                "models are told is the workflow's.",
                param=f"{place}.role",
                code="unsupported_value",
            )
        text = _text(message, place)
        if answered:
            asked.append(text)
        else:
            asked[-1] += f"\n\n{text}"
        answered = False
    if answered:
        raise CallRefusal(f"The last of '{name}' must be a message of the user.", param=name, code="invalid_value")
    return asked


def _text(message: CallMessage, place: str) -> str:
    if isinstance(message.content, str):
        return message.content
    parts: list[str] = []
    for index, part in enumerate(message.content or ()):
        if part.type not in _TEXT or part.text is None:
            param = f"{place}.content[{index}].type"
            raise CallRefusal(
                f"Invalid content type: '{param}' supports only text with this model.",
                param=param,
                code="unsupported_value",
            )
        parts.append(part.text)
    return "\n".join(parts)
