"""The state that travels through a workflow: one `TypedDict` per concern, plain JSON data all the way down.

Checkpoints, replays, diffs and conditions all read this shape. Texts of documents stay out of it (references and
content hashes only), because a checkpoint rewrites the state at every step. Times are ISO 8601 in UTC, money is US
dollars, durations say their unit in their name.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

__all__ = [
    "APPENDED",
    "BY_NAME",
    "FORGOTTEN",
    "MERGED",
    "NOBODY",
    "Answer",
    "Approval",
    "Attachment",
    "Branch",
    "BranchEnd",
    "CacheLookup",
    "CheckResult",
    "Checks",
    "Child",
    "Citation",
    "Clearance",
    "Conversation",
    "DecidedBy",
    "DocumentRef",
    "Extraction",
    "Failure",
    "FailureAction",
    "FailureCause",
    "ForEachItem",
    "Given",
    "GuardAction",
    "Intent",
    "ItemFailure",
    "ItemOutcome",
    "ItemTrail",
    "LabelScore",
    "MapProgress",
    "Path",
    "Policy",
    "Principal",
    "Priority",
    "Request",
    "RequesterReply",
    "Reserved",
    "Risk",
    "Route",
    "Run",
    "Spend",
    "State",
    "Tags",
    "Task",
    "ToolCall",
    "TrailEntry",
    "Turn",
    "progressed",
    "question",
]

NOBODY = "nobody"
"""The id of a reader who does not say who they are: they read what all may."""

Risk = Literal["low", "medium", "high"]
Clearance = Literal["public", "internal", "confidential", "restricted"]
Priority = Literal["low", "normal", "high"]
Task = Literal["short-answer", "synthesis", "tool", "extraction", "triage", "summary", "out-of-scope"]
DecidedBy = Literal["head", "slm", "cascade", "unlike", "stopped", "caller"]
"""The router's strategy; ``stopped`` where no model could be asked, ``caller`` where the request itself says it."""
FailureAction = Literal["redact", "regenerate", "escalate", "human", "refuse"]
"""What a guard asks for when it fails, from the least to the most severe."""
GuardAction = Literal["pass", FailureAction]
FailureCause = Literal["timeout", "unavailable", "stopped", "error"]
"""Why a node failed: it took too long; a model or a server is out of reach or overloaded; a policy, a budget or the
kill switch did not allow a call; anything else."""
Path = Literal["cache", "slm", "rag-slm", "rag-llm", "tool", "human", "refused"]


class Attachment(TypedDict):
    """A table that came with a request, cleaned."""

    name: str
    """Of its file."""
    text: str
    """As CSV, the names of its columns first; `sluicegate.files.csv_records` reads it."""


class Request(TypedDict):
    """The request, cleaned by the input layer before the first node."""

    id: str
    text: str
    channel: str
    received_at: str
    language: str
    """ISO 639-1 code, where the text leaves little doubt; empty otherwise, as for most requests of one or two words."""
    size: int
    """Bytes of the text as it arrived."""
    cleaned: list[str]
    """What the input layer changed, such as ``control-characters`` or ``nfc``."""
    attachments: NotRequired[list[Attachment]]
    """Tables that came with it. A condition, and the list of a `for-each`, see each as a map of its `name` and its
    `rows`, which are maps of texts by the names of the columns."""
    standalone: NotRequired[str]
    """The request as a question that needs no earlier turn, which every node reads in its place; only after a
    `condense` node. Where it needs none it is the text itself."""
    standalone_confidence: NotRequired[float]
    """The probability that it was rightly joined with earlier turns, or rightly not."""


class Principal(TypedDict):
    """The requester; Cedar's principal."""

    id: str
    roles: list[str]
    groups: list[str]
    clearance: Clearance


class LabelScore(TypedDict):
    label: str
    confidence: float


class Intent(TypedDict):
    """The classification of the request; `confidence` is calibrated, in [0, 1]."""

    label: str
    confidence: float
    alternatives: list[LabelScore]
    risk: Risk
    task: Task
    out_of_scope: bool
    by: DecidedBy
    """The strategy that decided; ``unlike`` where the request is unlike the rows that the router was calibrated on, so
    that nothing is promised about the label: no confidence reaches its threshold."""
    max_tokens: int
    """Maximum output tokens of one model call for this class of request."""
    tool: str
    """The tool this class of request is for; empty when none."""


class Tags(TypedDict):
    """The results of `tag` nodes."""

    found: list[str]
    """The tags whose score reaches their limit, highest score first. A condition that reads it is unknown until each
    tag that it names was scored; one that names none, until all of the workflow's were."""
    scores: dict[str, float]
    """Cosine similarity with each scored tag, by its name."""
    limits: dict[str, float]
    """The minimum score of each tag."""


class Policy(TypedDict):
    verdict: Literal["allow", "deny"]
    rules: list[str]
    """The `@id`s of the deciding policies."""
    reason: str
    errors: list[str]


class Route(TypedDict):
    threshold: float
    """The minimum confidence for the small model to answer this intent; conditions call it `router.threshold`."""
    artifact: str
    """Hash of the router artifact that decided."""
    needs_large: NotRequired[float]
    """Calibrated probability that the large model answers this request right and the small one does not; only where
    the workflow names a fitted escalation."""
    escalation_threshold: NotRequired[float]
    """The probability from which the large model should be asked, by the workflow's `escalation_target`."""
    escalation_artifact: NotRequired[str]
    """Hash of the escalation artifact."""
    path: NotRequired[Path]
    """What the run used; only at its end."""


class CacheLookup(TypedDict):
    hit: bool
    key: str
    age_s: float
    kind: NotRequired[Literal["exact", "semantic"]]
    """How the answer was found: by identical text, or by a paraphrase. Only for a hit."""
    question: NotRequired[str]
    """The cached question that a semantic hit matched."""
    similarity: NotRequired[float]
    """The cosine similarity of a semantic hit's two questions."""


class DocumentRef(TypedDict):
    """One retrieved passage, by reference; `services.retriever.text` returns its text by `hash`."""

    id: str
    version: str
    title: str
    source: str
    score: float
    span: list[int]
    """Start and end character offset of the passage in its document."""
    hash: str
    classification: NotRequired[Clearance]
    """The document's; restricted by default."""


class Citation(TypedDict):
    marker: str
    """As it appears in the answer, such as ``[1]``."""
    document: str
    version: str
    span: list[int]


class Answer(TypedDict):
    """The current draft; `respond` sends it."""

    text: str
    confidence: float
    threshold: float
    """The minimum confidence for the small model's answer to be sent; fitted to graded answers."""
    answerability: float
    """Probability that the retrieved documents say what was asked, whether or not this answer found it; fitted to
    graded answers. Where it is well above the confidence, another model may find what this one did not; where both are
    low, none will."""
    citations: list[Citation]
    model: str
    """The model that really answered, as ``provider:model``."""
    by: str
    """The node that wrote it."""
    prompt: str
    """Prompt id and version, such as ``answer@2``."""
    prompt_hash: str
    finish: Literal["stop", "length", "error"]
    fallback: str
    """Why another model than the one asked for answered; empty when the asked one did."""
    sections: NotRequired[list[str]]
    """The headings that the text was written under, in order."""
    features: NotRequired[dict[str, float]]
    """The features of the confidence, by name; not for a text in sections, nor one that a person wrote."""


class CheckResult(TypedDict):
    guard: str
    passed: bool
    action: GuardAction
    reason: str
    """Never quotes the text that was checked."""
    ms: float


class Checks(TypedDict):
    failed: bool
    action: GuardAction
    """The most severe action any guard asked for."""
    failures: list[str]
    results: list[CheckResult]
    sections: NotRequired[list[str]]
    """Headings of the sections that are not grounded or not cited; only these are written again when nothing else
    failed."""


class Approval(TypedDict):
    verdict: Literal["approve", "edit", "reject", "timeout"]
    by: str
    reason: str
    asked_at: str
    decided_at: str
    draft: str
    """The text the person was shown; differs from the answer after an edit."""
    arguments: NotRequired[dict[str, Any]]
    """The arguments of the tool call the person was shown; differ from the extraction's fields after an edit."""


class ToolCall(TypedDict):
    tool: str
    arguments: dict[str, Any]
    key: str
    """The idempotency key, derived from run, tool and arguments, and in a `for-each` from the item."""
    status: Literal["done", "failed", "denied", "invalid"]
    result: Any
    error: str
    cause: NotRequired[Literal["timeout", "unavailable", "error"]]
    """Why it failed; only where it did."""
    ms: float


class Extraction(TypedDict):
    fields: dict[str, Any]
    """What the request states, by the rules of the `extract` node, and what its intent gives; after an edit, what a
    person made of it."""
    missing: list[str]
    """Required fields without a value, and those whose value was dropped."""
    complete: bool
    confidence: float
    dropped: NotRequired[list[str]]
    """Fields whose extracted value the request does not state, each with the reason; the values are not kept."""


class Spend(TypedDict):
    usd: float
    """The real cost of the calls."""
    estimated_usd: float
    """The upper bounds that were reserved before them."""
    prompt_tokens: int
    completion_tokens: int
    slm_calls: int
    llm_calls: int
    stopped: bool
    """A call was not made because of a policy, a budget or the kill switch."""
    stopped_by: str
    """Code and reason of the last call that was not made; kept when a cheaper one replaced it."""


class Failure(TypedDict):
    """The last failure of a node that has an error branch."""

    node: str
    cause: FailureCause
    code: str
    """One of the error codes, such as ``SG303``."""
    reason: str


class ForEachItem(TypedDict):
    """The item that a `for-each` node is at; only in what it does for each item."""

    value: Any
    """An element of the list: a text, a number, a map, a document."""
    index: int
    """Its place in the list, from 0."""
    node: str
    """The `for-each`."""


class ItemFailure(TypedDict):
    """An item whose result is missing, and why."""

    index: int
    node: str
    cause: FailureCause
    code: str
    reason: str


class Child(TypedDict):
    """The last workflow that a `workflow` node has run, a run of its own."""

    workflow: str
    run: str
    """Its id."""
    status: Literal["answered", "refused"]
    """How it ended."""


class Branch(TypedDict):
    """One conditional edge that was decided."""

    to: str
    condition: str
    """The CEL text of the branch taken; empty for an unconditional edge, ``otherwise`` for the last one, ``on_error``
    where the node failed."""
    values: dict[str, Any]
    """Every field that the evaluated conditions read, with its value."""
    skipped: list[str]
    """Targets not taken: their condition was not true, or their visits were used up."""
    reason: str


class TrailEntry(TypedDict):
    node: str
    kind: str
    visit: int
    at: str
    ms: float
    branch: Branch
    attempts: NotRequired[int]
    """How often the node was tried at this visit; only where it was more than once."""
    cleaned: NotRequired[list[str]]
    """What was replaced in what the node wrote, since no part of a run can hold it."""
    within: NotRequired[str]
    """The branch that the node is in, as ``FORK/FIRST_NODE``, behind the branches around it."""
    items: "NotRequired[list[ItemTrail]]"
    """Of a `for-each` node: the decisions within each item, in the order of the list."""


class BranchEnd(TypedDict):
    """How a branch of a fork has ended, and what it has changed."""

    end: Literal["joined", "failed", "stopped"]
    """``stopped`` where a sibling has failed."""
    changes: dict[str, Any]
    """The new value of each changed concern; of `trail` and `tool_calls` what was appended."""


class Reserved(TypedDict):
    """What was reserved for branches or items before the first of them began, and which of them had no room."""

    node: str
    visit: int
    usd: float
    tokens: int
    limited: dict[str, Literal["small", "free"]]
    """Branches by their first nodes, or items by their places, that may not make all their calls: ``small``: none of a
    large model; ``free``: none that a cap counts."""
    refused: str
    """The cap that had no room, as a message; empty where all fit."""
    part: NotRequired[str]
    """The branch or item that the state is that of; only within one."""


class ItemTrail(TypedDict):
    index: int
    trail: list[TrailEntry]


class ItemOutcome(TypedDict):
    """What has come of one item of a `for-each` node."""

    index: int
    wrote: dict[str, Any]
    """The state's concerns that its nodes have written."""
    trail: list[TrailEntry]
    spend: Spend
    """Its own."""
    failure: NotRequired[Failure]


class MapProgress(TypedDict, total=False):
    """How far a `for-each` node has come."""

    elements: list[Any]
    """The items."""
    refused: list[str]
    """Why it does not begin: code and message."""
    cut: str
    """Why there are fewer items than elements; empty when there are not."""
    done: list[ItemOutcome]


def progressed(before: dict[str, MapProgress], changes: dict[str, MapProgress | None]) -> dict[str, MapProgress]:
    """`before` with changes by node: outcomes are appended, a beginning replaces, None removes."""
    after = {**before}
    for node, change in changes.items():
        if change is None:
            after.pop(node, None)
        elif "done" in change and "elements" not in change:
            so_far = before.get(node, {})
            after[node] = {**so_far, "done": [*so_far.get("done", ()), *change["done"]]}
        else:
            after[node] = change
    return after


class Run(TypedDict):
    id: str
    workflow: str
    version: str
    digest: str
    started_at: str
    status: Literal["running", "waiting", "answered", "refused", "failed"]
    visits: dict[str, int]
    shadow: bool
    session: NotRequired[str]
    """Only in runs made for stepping: ``started``, or the id of the run it was forked from."""
    conversation: NotRequired[str]
    """The session that its caller named: its trace's, and in a workflow with conversations the person's own."""
    parent: NotRequired[str]
    """The id of the run whose node it is; only in runs of a sub-workflow."""
    priority: NotRequired[Priority]
    """Before which other runs it is carried, now and after each interrupt; only where it is not normal."""


class Turn(TypedDict):
    """An answered turn of a conversation, as a later one may refer to it: what the person asked, never the answer,
    which may rest on documents that they may no longer read."""

    number: int
    run: str
    question: str
    standalone: str
    """As it was read; the question itself where it needed no earlier turn."""
    redacted: bool
    """Guards have taken something out of it."""


class RequesterReply(TypedDict):
    """What the requester answered to an `ask` node."""

    node: str
    question: str
    text: str
    """The answer; the request's text has it behind its own words."""
    before: str
    """The request's text as it was when it was asked."""
    asked_at: str
    answered_at: str


class Conversation(TypedDict):
    """The conversation that a run is a turn of, as it was when the turn was taken."""

    turn: int
    """Counts from 1."""
    turns: list[Turn]
    """The answered turns before it, as far back as the workflow looks, oldest first."""


class Given(TypedDict):
    """The initial state of a run."""

    request: Request
    principal: Principal
    run: Run
    inputs: NotRequired[dict[str, Any]]
    """What the workflow around it gave it, by the names that its config declares; only in runs of a sub-workflow."""


def _ended(ends: dict[str, BranchEnd], more: dict[str, BranchEnd]) -> dict[str, BranchEnd]:
    return {**ends, **more} if more else {}


# LangGraph asks for the signature of each of these whenever a graph is made; a built-in's is parsed from its docstring


def _both(some: list[Any], more: list[Any]) -> list[Any]:
    return some + more


def _merged(some: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return some | more


class State(Given, total=False):
    """The whole state. A node returns only the keys it changes; `trail`, `tool_calls` and `replies` are appended to,
    `items` and `failed_items` merge by their keys. None is no value: where a key may have it, it keeps LangGraph from
    beginning with an empty one, and a node that returns it for a key of `FORGOTTEN` takes that key away."""

    conversation: Conversation
    intent: Intent
    tags: Tags
    policy: Policy
    route: Route
    cache: CacheLookup
    documents: list[DocumentRef]
    earlier_documents: list[DocumentRef]
    """Passages of earlier searches of this run, which a draft may still rest on."""
    extraction: Extraction
    answer: Answer
    checks: Checks
    approval: Approval
    tool_calls: Annotated[list[ToolCall], _both]
    replies: Annotated[list[RequesterReply] | None, _both]
    """The requester's answers to `ask` nodes, in order."""
    spend: Spend
    failure: Failure
    item: ForEachItem
    items: Annotated[dict[str, list[dict[str, Any]]] | None, _merged]
    """The results of `for-each` nodes, by the name that each collects them under, in the order of its list. A result
    has `index`, `value` and what was written for the item, such as `answer` or `extraction`."""
    failed_items: Annotated[dict[str, list[ItemFailure]] | None, _merged]
    """The items without a result, by the same names."""
    maps: Annotated[dict[str, MapProgress] | None, progressed]
    """The `for-each` nodes under way."""
    child: Child
    extra: dict[str, Any]
    """Data of plug-in kinds, by their own keys."""
    branches: Annotated[dict[str, BranchEnd], _ended]
    """Between the end of the first branch of a fork and its join: how each has ended, by ``FORK/FIRST_NODE``."""
    reserved: Reserved | None
    """Only under a cap, from a `parallel` or a `for-each` until all its branches or items have ended."""
    trail: Annotated[list[TrailEntry], _both]


MERGED = frozenset({"run", "documents", "earlier_documents", "tags", "tool_calls", "spend", "failure", "trail"})
"""The concerns that branches of a `parallel` node may all write. Each branch has its own until the join, where they
become one in the order of the branches (`graphs.runtime.steps.merging`): `trail` and `tool_calls` one after another;
`documents` and `earlier_documents` too, each passage once; `spend` added up; `tags` and the visits of `run` by their
names; `failure` the last one. Any other concern may be written by one branch only, and then read by no other.
"""

BY_NAME = frozenset({"extra", "items", "failed_items"})
"""The concerns of which branches may write different keys."""


APPENDED = ("trail", "tool_calls", "replies")
"""The keys whose updates are appended to what is there."""
FORGOTTEN = frozenset({"intent", "route", "tags", "policy", "cache", "extraction", "answer", "checks", "approval"})
"""What is concluded from the words of a request, and no longer holds when the requester has added some."""


def question(state: State) -> str:
    """What the run is asked: the standalone question of a follow-up, else the request's text."""
    return state["request"].get("standalone") or state["request"]["text"]
