"""Errors, split by phase, each with a stable code.

Families: ``SG1xx`` config, ``SG2xx`` policy and guards, ``SG3xx`` models, ``SG4xx`` retrieval, ``SG5xx`` budget,
``SG6xx`` run, ``SG7xx`` what machines share. An error says where, what, the legal choices, the nearest match, and how
to fix it. `CODES` is the one list of codes; an error with a code that is not listed is a programming mistake and fails
at once.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "CODES",
    "BudgetError",
    "ChainFailedError",
    "ConfigError",
    "ConversationBusyError",
    "CorruptError",
    "GivenUpError",
    "IndexMissingError",
    "InsufficientDataError",
    "LockedError",
    "ModelError",
    "NodeFailedError",
    "NotAListError",
    "NotFoundError",
    "NotWaitingError",
    "Place",
    "PolicyError",
    "Problem",
    "PromptTooLongError",
    "RetrievalError",
    "RunError",
    "ServerError",
    "ShadowNotFoundError",
    "SluicegateError",
    "StoppedError",
    "TooFewResultsError",
    "TooManyItemsError",
    "UnknownWorkflowError",
    "UnreachableError",
    "UnusableAnswerError",
    "WeightsMismatchError",
    "nearest",
]

CODES: dict[str, str] = {
    # config
    "SG101": "file not found or unreadable",
    "SG102": "not valid YAML",
    "SG103": "YAML trap: a value that YAML reads as something else",
    "SG104": "duplicate key",
    "SG105": "unknown key",
    "SG106": "missing key",
    "SG107": "value of the wrong type or outside its range",
    "SG108": "file too large, too deep, or with too many aliases",
    "SG109": "not UTF-8",
    "SG110": "unknown node kind",
    "SG111": "unknown node",
    "SG112": "unknown model",
    "SG113": "unknown intent",
    "SG114": "unknown prompt",
    "SG115": "unknown index",
    "SG116": "unknown guard",
    "SG117": "unknown tool",
    "SG118": "extends: broken or circular",
    "SG119": "managed prompt unavailable: another text is used",
    "SG120": "syntax error in a condition",
    "SG121": "condition does not type-check",
    "SG122": "unknown field in a condition",
    "SG123": "condition compares a field with a value it never has",
    "SG124": "condition reads a field that nothing before it writes",
    "SG125": "unknown placeholder",
    "SG126": "condition reads a verdict that another node gave",
    "SG127": "argument that the tool does not take",
    "SG128": "approver whom no policy allows to decide",
    "SG129": "package that the workflow uses is not installed",
    "SG130": "unreachable node",
    "SG131": "node from which no end is reachable",
    "SG132": "branches are not exhaustive",
    "SG133": "cycle without max_visits",
    "SG134": "guarantee broken",
    "SG135": "guarantee waived without a reason",
    "SG136": "branch that is never taken",
    "SG137": "guarantee that asks nothing of this workflow",
    "SG138": "overlay that promises less than its base",
    "SG139": "branches of a fork that do not come together",
    "SG140": "example or request file has a bad row",
    "SG141": "branches side by side that touch the same field",
    "SG142": "what a for-each does for an item does not end there",
    "SG143": "sub-workflow missing, circular or nested too deep",
    "SG144": "two workflows of one name",
    # policy and guards
    "SG201": "policy does not parse or does not fit the schema",
    "SG202": "policy denied the request",
    "SG203": "guard failed to run",
    # models
    "SG301": "model unreachable",
    "SG302": "model not available at its provider",
    "SG303": "model timed out",
    "SG304": "model overloaded or out of memory",
    "SG305": "model returned an unusable answer",
    "SG306": "weights missing",
    "SG307": "weights do not match their pinned hash",
    "SG308": "unknown provider, or its package or key is missing",
    "SG309": "every model of the fallback chain failed",
    "SG310": "router artifact missing",
    "SG311": "router artifact edited or unreadable",
    "SG312": "router artifact does not fit this workflow or embedder",
    "SG313": "data cannot support the requested fit",
    "SG314": "prompt longer than the model's context",
    "SG315": "model below the minimum of its probe",
    # retrieval
    "SG401": "index missing",
    "SG402": "index corrupt",
    "SG403": "document unreadable",
    "SG404": "index was built with another embedder",
    "SG405": "documents in languages that the embedder does not know",
    # budget
    "SG501": "budget reached",
    "SG502": "switched off by the kill switch",
    "SG503": "batch may cost more than the budget has left",
    # run
    "SG601": "empty request",
    "SG602": "request too large",
    "SG603": "run not found",
    "SG604": "workflow changed since the run started",
    "SG605": "run is not waiting for a decision",
    "SG606": "store or checkpoint corrupt",
    "SG607": "disk full or not writable",
    "SG608": "database locked",
    "SG609": "tool failed",
    "SG610": "not allowed to decide or to view",
    "SG611": "a node failed",
    "SG612": "store written by a newer version",
    "SG613": "no destination for traces is configured",
    "SG614": "Langfuse failed or refused",
    "SG615": "a step, rewind, edit or fork that this run does not allow",
    "SG616": "plan or challenger of a shadow changed after it started",
    "SG617": "no such shadow",
    "SG618": "no previous version to roll back to",
    "SG619": "not signed in",
    "SG620": "service busy or closing",
    "SG621": "request id used for another request",
    "SG622": "call does not match the API",
    "SG623": "token file missing, unreadable or not to be trusted",
    "SG624": "service cannot listen",
    "SG625": "database server unreachable or failing",
    "SG626": "verdict that does not fit what waits",
    "SG628": "a node did what its kind does not declare",
    "SG629": "run took more steps than its workflow allows",
    "SG630": "the home belongs to another user",
    "SG631": "score is not a finite number",
    "SG632": "condition cannot be evaluated",
    "SG633": "picture cannot be drawn",
    "SG634": "for-each over something that is no list",
    "SG635": "for-each over more items than are allowed",
    "SG636": "for-each with too few results",
    "SG637": "nobody answered the question in time",
    "SG638": "attachment is no table",
    "SG640": "no such conversation",
    "SG641": "another turn of the conversation is not over",
    "SG642": "no such workflow is served",
    "SG650": "approval link that does nothing any more, or never did",
    "SG660": "sign-on provider unreachable or unusable",
    "SG680": "bundle cannot be written",
    "SG681": "the part that carries runs on many machines is missing",
    "SG682": "a process carries runs on one server only",
    "SG683": "a run was given up: it ended every process that took it up",
    "SG684": "a worker needs a server that machines share",
    "SG690": "state that machines share could not be read for a second",
    "SG705": "ids of a batch's rows missing or repeated",
    "SG706": "row of a batch unreadable",
    "SG707": "batch of another workflow, input or options",
    "SG709": "engine of batches missing or failing",
    "SG715": "unknown place for traces",
    "SG695": "audit event not on the server that must be there",
    # what machines share
    "SG700": "store of an index unreachable",
    "SG701": "store of an index refuses: credentials, rights or bucket",
    "SG702": "another ingest of a stored index has taken over",
    "SG703": "stored index belongs to another workflow",
    "SG730": "a person's rate of requests is used up",
    "SG731": "a model's rate has no turn soon enough",
    "SG735": "priority above the requester's own",
    "SG736": "unknown priority",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a config; a `ConfigError` carries all of a file's problems at once."""

    code: str
    message: str
    place: Place | None = None
    choices: tuple[str, ...] = ()
    """The legal values, when they can be listed."""
    suggestion: str | None = None
    """The nearest legal value, when one is near."""
    hint: str | None = None
    """What to do about it, in one sentence."""
    severity: str = "error"
    """``error`` refuses the workflow, ``warning`` does not."""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise AssertionError(f"unlisted error code {self.code}")

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        text = f"{where}{self.code} {self.message}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion!r}?"
        if self.choices:
            text += f" (one of: {', '.join(self.choices)})"
        if self.hint:
            text += f". {self.hint}"
        return text


class SluicegateError(Exception):
    """An error that a user can understand and fix; the CLI prints it without a traceback.

    `code` is one of `CODES`, `hint` says what to do about it.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        if code not in CODES:
            raise AssertionError(f"unlisted error code {code}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code} {self.message}" + (f". {self.hint}" if self.hint else "")


class ConfigError(SluicegateError):
    """A workflow that may not start: every problem found in it, in file order."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.code, first.message, hint=first.hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PolicyError(SluicegateError):
    """A policy set or a guard that cannot be trusted to decide."""


class ModelError(SluicegateError):
    """A model, its weights or a router artifact that cannot answer."""

    usd: float = 0.0
    """What a failed call cost nevertheless: unusable answers, aborted calls."""


class _OneCodeError(SluicegateError):
    """An error that code catches by its type; the code, which people read, follows from it."""

    only: ClassVar[str]

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(self.only, message, hint=hint)


class UnreachableError(_OneCodeError, ModelError):
    """No server answers, or it broke off."""

    only = "SG301"


class UnusableAnswerError(_OneCodeError, ModelError):
    """A model returned an unusable answer."""

    only = "SG305"


class WeightsMismatchError(_OneCodeError, ModelError):
    """Weights that do not match their pinned hash."""

    only = "SG307"


class InsufficientDataError(_OneCodeError, ModelError):
    """Data that cannot support the requested fit or guarantee."""

    only = "SG313"


class UnlikeEmbedderError(_OneCodeError, ModelError):
    """An embedder whose vectors cannot be compared with those that something was fitted on or indexed with."""

    only = "SG312"


class NoTurnSoonError(_OneCodeError, ModelError):
    """A model whose rate has no turn for this call soon enough."""

    only = "SG731"


class ChainFailedError(_OneCodeError, ModelError):
    """Every model of a fallback chain failed."""

    only = "SG309"
    failures: Sequence[ModelError] = ()
    """Why, one for each model, in the chain's order."""


class PromptTooLongError(_OneCodeError, ModelError):
    """A prompt longer than the model's context."""

    only = "SG314"


class RetrievalError(SluicegateError):
    """An index or a document that cannot be read."""


class IndexMissingError(_OneCodeError, RetrievalError):
    """There is no such index, or nothing was ingested into it."""

    only = "SG401"


class BudgetError(SluicegateError):
    """A budget, a token cap or the kill switch prevents it."""


class StoppedError(SluicegateError):
    """A model call that policies (SG202), a budget (SG501) or the kill switch (SG502) did not allow.

    Nodes record it in `spend`, on which branches decide; a node that lets it through fails its run.
    """


class RunError(SluicegateError):
    """A run, its checkpoint or its store cannot continue."""


class NotFoundError(_OneCodeError, RunError):
    """There is no such run, incident or record."""

    only = "SG603"


class NotWaitingError(_OneCodeError, RunError):
    """The run does not wait for this decision: it is decided already, or its deadline has not passed."""

    only = "SG605"


class CorruptError(_OneCodeError, RunError):
    """A store, a log or a key that is corrupt."""

    only = "SG606"


class UnwritableError(_OneCodeError, RunError):
    """A file of this machine cannot be written or read, as when its disk is full."""

    only = "SG607"


class ServerError(_OneCodeError, RunError):
    """The database server is unreachable, or does not do what is asked."""

    only = "SG625"


class LockedError(_OneCodeError, RunError):
    """Another process holds a needed lock; trying again later may help."""

    only = "SG608"


class GivenUpError(_OneCodeError, RunError):
    """A run is carried no more: it ended every process that took it up."""

    only = "SG683"


class ConversationBusyError(_OneCodeError, RunError):
    """Another turn of the conversation is not over."""

    only = "SG641"


class UnknownWorkflowError(_OneCodeError, RunError):
    """A workflow that is not served, or none named where several are."""

    only = "SG642"


class NoTurnError(_OneCodeError, RunError):
    """A conversation, or a turn of one, that its requester does not have."""

    only = "SG640"


class NodeFailedError(_OneCodeError, RunError):
    """A node failed; the store and the locks of its run are sound."""

    only = "SG611"
    update: Mapping[str, Any] = {}
    """What the node has written nevertheless, such as what it has spent."""


class UnansweredError(NodeFailedError):
    """The requester did not answer a question in time."""

    only = "SG637"


class NotAListError(NodeFailedError):
    """A for-each has no list to go over."""

    only = "SG634"


class TooManyItemsError(NodeFailedError):
    """A for-each has more items than it may."""

    only = "SG635"


class TooFewResultsError(NodeFailedError):
    """A for-each has fewer results than it needs."""

    only = "SG636"


class ShadowNotFoundError(_OneCodeError, RunError):
    """No such shadow is running."""

    only = "SG617"


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice closest to `word`, or None when none is close: the project's one did-you-mean."""
    by_folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None
