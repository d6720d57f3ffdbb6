"""What may be cached and under which key: the rules that `cache-lookup` and `respond` share."""

import json

from sluicegate.errors import ModelError, StoppedError
from sluicegate.policies.cache.cache import answer_key, answer_space
from sluicegate.services import EmbeddingRequest, Question, Services
from sluicegate.state import State, question

__all__ = ["key_of", "question_of", "shareable"]

_LONGEST = 300
"""Maximum length of a question for semantic matching, in characters; longer ones are too specific."""


def shareable(state: State, services: Services) -> bool:
    """Whether this request may be answered from the cache, and its answer cached.

    Never a request of a high-risk class or of none, never one that brings tables along, and never one that guards have
    redacted: with placeholders, the questions of two people look alike.
    """
    intent = state.get("intent")
    if not services.workflow.cache_ttl_s or not intent or intent["risk"] == "high":
        return False
    return "redacted" not in state["request"]["cleaned"] and "attachments" not in state["request"]


def key_of(state: State, services: Services) -> str:
    """The cache key of the answer to this text."""
    facts = services.workflow
    visible, versions = _rests_on(state, services)
    asked = question(state)
    if inputs := state.get("inputs"):
        asked = f"{asked}\0{json.dumps(inputs, ensure_ascii=False, sort_keys=True)}"
    return answer_key(digest=facts.digest, request=asked, visible=visible, versions=versions)


async def question_of(state: State, services: Services) -> Question | None:
    """The question as embedded for semantic matching; None where the workflow does not use it, where the answer also
    depends on inputs, and when the embedding model fails or may not be called."""
    facts, intent = services.workflow, state.get("intent")
    text = question(state)
    semantic = facts.semantic
    if semantic is None or intent is None or intent["label"] not in semantic.intents or len(text) > _LONGEST:
        return None
    if state.get("inputs"):
        return None
    try:
        made = await services.models.embed(EmbeddingRequest(semantic.embedder, [text]))
    except (ModelError, StoppedError):
        return None
    visible, versions = _rests_on(state, services)
    space = answer_space(
        digest=facts.digest, intent=intent["label"], visible=visible, versions=versions, embedder=made.model
    )
    return Question(space, text, made.vectors[0])


def _rests_on(state: State, services: Services) -> tuple[list[str], list[str]]:
    """What the reader may see in each index, and the indexes' versions."""
    retriever, indexes = services.retriever, services.workflow.indexes
    return (
        [retriever.visible(index, state["principal"]) for index in indexes],
        [retriever.version(index) for index in indexes],
    )
