"""The upper bound of what a run, a branch or an item can cost, before it begins.

It adds up what the kinds of nodes tell of their calls (`NodeKind.calls`), along the dearest route
(`graphs.proofs.fanout.routes`). What they do not tell, such as an embedder's price, is not in it.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from sluicegate.errors import RetrievalError
from sluicegate.graphs.proofs.fanout.routes import Routes
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.nodes.budget.call_bounds import PromptSizes
from sluicegate.nodes.items import PromptsWithItems, item_placeholders
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.registry import kinds
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import micros
from sluicegate.services import Amount, Part, Services
from sluicegate.state import State, question

__all__ = ["Bound", "RouteBounds"]


class Bound(NamedTuple):
    """Of all calls, and of those of small models alone."""

    micros: int = 0
    tokens: int = 0
    small_micros: int = 0
    small_tokens: int = 0

    @property
    def usd(self) -> float:
        return self.micros / 1_000_000

    def part(self, name: str) -> Part:
        small = Amount(self.small_micros / 1_000_000, self.small_tokens)
        return Part(name, Amount(self.usd, self.tokens), small)


class RouteBounds:
    """The bounds of one workflow."""

    def __init__(
        self,
        flow: Flow,
        settings: Mapping[str, Any],
        passages: Callable[[str], int] | None = None,
        budget: BudgetConfig | None = None,
    ) -> None:
        """`passages` has the tokens of the longest passage of an index, and raises `RetrievalError`."""
        self._flow, self._settings, self._passages = flow, settings, passages
        self._budget = budget or BudgetConfig()
        self._at_most = {name: own.at_most for name, own in settings.items() if isinstance(own, ForEach)}
        self._routes: dict[str, Routes] = {}

    def of_run(self, text: str, services: Services) -> Bound:
        """Of a run with this request. Raises `RetrievalError` SG401, SG402 for passages of an index that is not."""
        return self._of(self._flow.start, None, text, services, self._found(self._flow.nodes), {})

    def of_child(self, text: str, services: Services) -> Bound:
        """Of a run within another one, no more than its own caps allow. Raises as `of_run` does."""
        found, usd, tokens = self.of_run(text, services), self._budget.per_run_usd, self._budget.per_run_tokens
        if usd is not None:
            cap = micros(usd)
            found = found._replace(micros=min(found.micros, cap), small_micros=min(found.small_micros, cap))
        if tokens is not None:
            found = found._replace(tokens=min(found.tokens, tokens), small_tokens=min(found.small_tokens, tokens))
        return found

    def of_part(self, first: str, members: Collection[str], state: State, services: Services) -> Bound:
        """Of a branch or an item that begins at `first` in this state."""
        documents = state.get("documents", ())
        texts = [text for one in documents for text in (services.retriever.text(one), one["title"])]
        sources = sum(map(services.models.tokens, texts)) + _AROUND * len(documents)
        # an index that is not there has nothing to be found: the search says so
        with suppress(RetrievalError):
            sources = max(sources, self._found(members))
        return self._of(first, members, question(state), services, sources, item_placeholders(state, services))

    def _of(
        self,
        start: str,
        members: Collection[str] | None,
        text: str,
        services: Services,
        sources: int,
        shown: Mapping[str, str],
    ) -> Bound:
        """`shown` is what prompts say of items that are known."""
        if start not in self._routes:
            self._routes[start] = Routes(self._flow, start, self._at_most, members)
        routes = self._routes[start]
        sizes = PromptSizes.of(services, text, sources)
        visits = {
            name: self._visit(name, self._with_items(name, sizes, services, shown), services) for name in routes.members
        }
        return Bound(*routes.dearest(visits))

    def _with_items(self, name: str, sizes: PromptSizes, services: Services, shown: Mapping[str, str]) -> PromptSizes:
        """What the prompts of a node hold at most, with results of items that are not there yet. An item that is not
        known is a passage, or a part of the request."""
        known = "item" in shown or not self._flow.nodes[name].within
        unknown = 0 if known else sizes.sources + sizes.tokens(sizes.question)
        results = {
            f"items.{own.collect}": "9" * (own.at_most * (_RESULT + self._longest_answer(each, sizes)))
            for each, own in self._settings.items()
            if isinstance(own, ForEach) and each != self._flow.nodes[name].within
        }
        prompts = PromptsWithItems(services.prompts, {**results, **shown}) if results or shown else services.prompts
        return replace(sizes, prompts=prompts, item=unknown)

    def _longest_answer(self, each: str, sizes: PromptSizes) -> int:
        own = (one for name, one in self._settings.items() if self._flow.nodes[name].within == each)
        return max((getattr(one, "max_tokens", None) or sizes.answer for one in own), default=0)

    def _found(self, members: Collection[str]) -> int:
        """Tokens of the passages that a search may find."""
        searches = [own for name in members if isinstance(own := self._settings[name], Retrieve)]
        if self._passages is None:
            return 0
        return max(((own.k or 0) * (self._passages(own.index) + _AROUND) for own in searches), default=0)

    def _visit(self, name: str, sizes: PromptSizes, services: Services) -> Bound:
        """What one try of a node can cost."""
        if child := services.children.get(name):
            return Bound(*child.bound(sizes.question))
        calls = kinds()[self._flow.nodes[name].kind].calls
        found = [0, 0, 0, 0]
        for call in calls(self._settings[name], sizes) if calls else ():
            price = micros(services.models.bound(call.role, call.prompt, call.answer), up=True)
            tokens = call.prompt + call.answer
            found[0] += price
            found[1] += tokens
            if call.size == "slm":
                found[2] += price
                found[3] += tokens
        return Bound(*found)


_AROUND = 12
"""Tokens of a passage's number and the lines around it."""
_RESULT = 8
"""Tokens of the number of an item's result and the lines around it."""
