"""A small model that answers with the letters it is told, and a probe result that trusts it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sluicegate.errors import ModelError
from sluicegate.services import (
    Completion,
    EmbeddingRequest,
    Embeddings,
    LabelScale,
    ModelRequest,
    ProbeTask,
    TokenLogprob,
)


@dataclass
class Letters:
    """A model that answers with letters: `leaning` is its prior by letter, a text that names a label doubles it."""

    leaning: Mapping[str, float]
    asked: list[str] = field(default_factory=list)
    logprobs: bool = True
    fails: bool = False
    scale: LabelScale | None = field(default_factory=lambda: LabelScale(1.0, 1.0))

    async def chat(self, request: ModelRequest) -> Completion:
        if self.fails:
            raise ModelError("SG309", "nobody answers")
        listed, text = request.messages[-1].content.split("\n\nRequest: ")
        self.asked.append(text)
        classes = dict(line.split(". ", 1) for line in listed.splitlines()[1:])
        scores = {k: self.leaning.get(k, 0.1) * (4 if name in text else 1) for k, name in classes.items()}
        total = sum(scores.values())
        best = max(scores, key=lambda k: scores[k])
        tokens = tuple((f' "{k}"', math.log(v / total)) for k, v in scores.items())
        said = (TokenLogprob("{", 0.0), TokenLogprob(f'"{best}"', math.log(scores[best] / total), tokens))
        return Completion(
            f'{{"class": "{best}"}}',
            "fake:slm",
            "fake:slm",
            1,
            1,
            "stop",
            1.0,
            0.0,
            logprobs=said if self.logprobs else (),
            parsed={"class": best},
        )

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        raise AssertionError("not needed")

    async def label_scale(self, role: str) -> LabelScale | None:
        return self.scale

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        return False

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.0

    def bound(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.0

    def tokens(self, text: str) -> int:
        return len(text)

    def describe(self, role: str) -> str:
        return f"fake:{role}"

    def chain(self, role: str) -> tuple[str, ...]:
        return (self.describe(role),)


async def trusted() -> bool:
    return True
