"""Stepping through a run: node by node, back, and again with changes.

    session = Session.start("configs/helpdesk/workflow.yaml", "I forgot my password")
    session.step()                                  # one node; shows what it changed
    session.run(until="check")                      # stops before the node `check`
    session.rewind("answer")                        # stands before `answer` again
    other = session.fork(model="ollama:qwen3:4b")   # a run of its own from here, under another model
    session.run().compare(other.run())

The state of a session is in the checkpoints: `Session.open(run_id)` continues it in another process. A run that was
not started for stepping is read-only; the first call that would change it works on a copy under a new run id.

The methods work in a script and in a notebook's running loop alike. Those that run nodes have an async version:
`astep`, `arun`, `aanswer`, `aapprove`, `areject`, `aedit_draft`, `aedit_arguments`.

Outside effects: models are called and their cost is booked. A started session calls its tools as `sluicegate run`
does, unless it is `dry`; a fork is dry by default: tools with effects are simulated. A session reads the answer cache
and never writes it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sluicegate.errors import ConversationBusyError, NotWaitingError, RunError, nearest
from sluicegate.graphs.proofs.fanout.forks import branches_of
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.loop_thread import elsewhere, wait_for
from sluicegate.graphs.runtime.run import Pause
from sluicegate.graphs.runtime.waiting.verdicts import is_due
from sluicegate.graphs.session import history
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.graphs.session.differences import facts
from sluicegate.graphs.session.edit import edited
from sluicegate.graphs.session.forking import copied, overlaid
from sluicegate.graphs.session.items import items_of
from sluicegate.graphs.session.opening import Change, file_of, opened
from sluicegate.graphs.session.view import (
    Comparison,
    Items,
    StateView,
    Step,
    Trail,
    session_html,
    session_svg,
    session_text,
)
from sluicegate.run_summary import RunSummary
from sluicegate.state import NOBODY, Principal, State

if TYPE_CHECKING:
    from langgraph.types import StateSnapshot

    from sluicegate.graphs.config.load import Workflow
    from sluicegate.graphs.runtime.waiting.approvals import Waiting

__all__ = ["Session"]

Person: TypeAlias = str | Principal


class Session:
    """An interactive handle on one run. `start` a new run or `open` one by its id."""

    def __init__(self, opened: Opened, run: str, *, change: Change, mine: bool, begun: bool) -> None:
        self._opened = opened
        self._run = run
        self._change = change
        self._mine = mine
        """The run was started for stepping; any other is copied before it is changed."""
        self._begun = begun
        """The run's trace has begun."""

    @classmethod
    def start(
        cls,
        config: "Path | str | Workflow",
        text: str | bytes,
        *,
        as_: str = "me",
        role: str | Sequence[str] = "employee",
        group: str | Sequence[str] = (),
        clearance: intake.Clearance = "internal",
        channel: str = "notebook",
        conversation: str = "",
        attachments: Mapping[str, str | bytes] | None = None,
        dry: bool = False,
        change: Change = lambda services: services,
    ) -> "Session":
        """A new run, before its first node. `dry` simulates tools with effects. `attachments` are tables as CSV, by the
        names of their files.

        `conversation` makes it the next turn of one of the person's; a dry run refers to its turns and takes none.
        `change` may swap services. Raises what `open_workflow` raises, and `RunError` SG601, SG602 (the request), SG641
        (the turn before is not over, or asks something).
        """
        fresh = opened(config, dry=dry, change=change)
        asker = intake.principal(as_, _listed(role), _listed(group), clearance)
        if conversation and not dry and (asking := wait_for(fresh.runner.question_in(conversation, asker))):
            raise ConversationBusyError(
                f"the last turn of the conversation {conversation!r} asks a question",
                hint=f"Answer it: Session.open({asking!r}).answer(TEXT, as_=…)",
            )
        tables = intake.attached(attachments or {})
        state = fresh.runner.opening(text, asker, channel=channel, session=conversation, attachments=tables)
        state = cast("State", {**state, "run": {**state["run"], "session": "started"}})
        wait_for(fresh.runner.write_down(state))
        return cls(fresh, state["run"]["id"], change=change, mine=True, begun=False)

    @classmethod
    def open(
        cls,
        run: str,
        *,
        as_: str = "",
        role: str | Sequence[str] = (),
        group: str | Sequence[str] = (),
        clearance: intake.Clearance = "internal",
        config: "Path | str | None" = None,
        change: Change = lambda services: services,
    ) -> "Session":
        """A run of this home by its id, a session's own or one from production, on the version it began with.

        With `as_`, only what policy lets this person see (action ``see_trace``). Whoever opens a run must also be
        allowed to read every source of its draft (``read_document``); without `as_`, all must be.
        `config` names the workflow's file when it has moved and no copy was kept. Raises `RunError` SG603 (no such
        run), SG604 (its version is gone), SG606 (corrupt), SG610 (not yours to see), SG612 (the store is of a newer
        version).
        """
        state = recorded(run)
        mine, dry = "session" in state["run"], state["run"]["shadow"]
        version = opened(config or file_of(state), dry=dry or not mine, change=change)
        person = intake.principal(as_ or NOBODY, _listed(role), _listed(group), clearance)
        if as_:
            from sluicegate.observe.tracing.masking import Masking
            from sluicegate.observe.views.access import must_see

            row = {"run_id": run, "user": state["principal"]["id"]}
            must_see(row, person, version.runner.services.policy, Masking(version.workflow.config.tracing))
        if state["run"]["digest"] != version.workflow.digest:
            raise RunError(
                "SG604",
                f"run {run} is of version {state['run']['digest'][:12]}, this file is {version.workflow.digest[:12]}",
                hint="Omit config to open it on its own version, then fork(config=…)",
            )
        if why := version.runner.withheld(state, person):
            raise RunError("SG610", why, hint="" if as_ else "Say who reads: as_=…, role=…, group=…, clearance=…")
        return cls(version, run, change=change, mine=mine, begun=bool(state.get("trail")))

    # --- current state ---

    @property
    def run_id(self) -> str:
        return self._run

    @property
    def workflow(self) -> "Workflow":
        return self._opened.workflow

    @property
    def forked_from(self) -> str | None:
        """The run this one was copied from."""
        origin = self._values()["run"].get("session", "started")
        return None if origin == "started" else origin

    @property
    def dry(self) -> bool:
        """Tools with effects are simulated."""
        return self._values()["run"]["shadow"] or not self._mine

    @property
    def state(self) -> StateView:
        """The state, a dictionary with a table as its display."""
        return StateView(self._values())

    @property
    def node(self) -> str | None:
        """The next or waiting node; None at the end."""
        # not the snapshot's `next`: that leaves out a node whose results are written and not yet checkpointed
        ahead = self._head().tasks
        return history.node_of(ahead[0].name) if ahead else None

    @property
    def waiting(self) -> "Waiting | None":
        """What a person has to decide, when the run waits for one."""
        return self._opened.runner.waiting(self._run)

    @property
    def status(self) -> str:
        """``running``, ``waiting``, ``answered`` or ``refused``."""
        return "waiting" if self.waiting else self._values()["run"]["status"]

    @property
    def trail(self) -> Trail:
        """The decisions so far, in order."""
        return Trail(self._values().get("trail", []))

    @property
    def items(self) -> Items:
        """The items of the lists that the run goes over, or has gone over, each with what has become of it."""
        return Items(items_of(self._values(), self.workflow.settings))

    @property
    def diff(self) -> Step:
        """What the last step changed, and the branch it took."""
        here = self._head()
        parent = self._opened.runner.graph.get_state(here.parent_config).values if here.parent_config else {}
        return Step(cast("State", parent or here.values), cast("State", here.values), waiting=self.waiting)

    @property
    def facts(self) -> dict[str, Any]:
        """The outcome so far in a few comparable facts."""
        return facts(RunSummary.of(self._values(), status="waiting" if self.waiting else None))

    def compare(self, other: "Session") -> Comparison:
        """Two runs side by side."""
        return Comparison(self._run, self.facts, other.run_id, other.facts)

    def inside(
        self,
        *,
        as_: str = "",
        role: str | Sequence[str] = (),
        group: str | Sequence[str] = (),
        clearance: intake.Clearance = "internal",
    ) -> "Session":
        """The run of the sub-workflow that asks a person here, or that this run has come from last, for stepping
        through what it has done. As in `open`, it is read-only: what would change it works on a copy.

        Raises `RunError` SG615 where there is none, and as `open` does.
        """
        asking = (self.waiting or {}).get("asked_by", ())
        child = asking[0]["run"] if asking else self._values().get("child", {}).get("run")
        if child is None:
            raise RunError("SG615", "this run has not come to a sub-workflow", hint="Step until after its node")
        return Session.open(child, as_=as_, role=role, group=group, clearance=clearance, change=self._change)

    # --- forward ---

    def step(self) -> Step:
        """Run the next node. Raises `RunError` SG615 at the end or while a person is asked, and what nodes raise."""
        return wait_for(self._step())

    async def astep(self) -> Step:
        return await elsewhere(self._step())

    def run(self, until: str | None = None) -> "Session":
        """Run to the end or to a person; with `until`, stop before that node if the run reaches it.

        Raises as `step` does.
        """
        return wait_for(self._go(until))

    async def arun(self, until: str | None = None) -> "Session":
        return await elsewhere(self._go(until))

    def approve(self, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        """Approve the waiting run, as a person whom the policies allow; stops after that node. `as_` is their id, with
        `role`, or the whole person, whose groups and clearance count too.

        Raises `RunError` SG605 (nothing waits), SG610 (this person may not decide).
        """
        return wait_for(self._decide("approve", as_, role, reason))

    async def aapprove(self, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        return await elsewhere(self._decide("approve", as_, role, reason))

    def reject(self, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        """Like `approve`, but rejects."""
        return wait_for(self._decide("reject", as_, role, reason))

    async def areject(self, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        return await elsewhere(self._decide("reject", as_, role, reason))

    def answer(self, text: str, *, as_: Person, role: str | Sequence[str] = "employee") -> Step:
        """Answer what the run asks its requester, as that person; stops after that node. Raises as `approve` does."""
        return wait_for(self._decide("answer", as_, role, "", text))

    async def aanswer(self, text: str, *, as_: Person, role: str | Sequence[str] = "employee") -> Step:
        return await elsewhere(self._decide("answer", as_, role, "", text))

    def edit_draft(self, text: str, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        """Like `approve`, but sends `text` instead of the draft."""
        return wait_for(self._decide("edit", as_, role, reason, text))

    async def aedit_draft(self, text: str, *, as_: Person, role: str | Sequence[str] = (), reason: str = "") -> Step:
        return await elsewhere(self._decide("edit", as_, role, reason, text))

    def edit_arguments(
        self, arguments: Mapping[str, Any], *, as_: Person, role: str | Sequence[str] = (), reason: str = ""
    ) -> Step:
        """Like `approve`, but changes arguments of the tool call that waits; None takes one out."""
        return wait_for(self._decide("edit", as_, role, reason, arguments=arguments))

    async def aedit_arguments(
        self, arguments: Mapping[str, Any], *, as_: Person, role: str | Sequence[str] = (), reason: str = ""
    ) -> Step:
        return await elsewhere(self._decide("edit", as_, role, reason, arguments=arguments))

    # --- back and fork ---

    def rewind(self, node: str | None = None, *, visit: int | None = None) -> "Session":
        """Go back to before `node`, its latest visit or its `visit`-th; without a node, one step back.

        Raises `RunError` SG615 when the run did not visit it.
        """
        snapshots = history.lineage(self._opened.runner.graph, self._run)
        if node is not None:
            self._known(node)
            # the next node is not a way back unless that very visit is named
            back = (
                snapshots[1:]
                if visit is None and node in map(history.node_of, snapshots[0].next) and len(snapshots) > 1
                else snapshots
            )
            target = history.before(back, node, visit)
        elif len(snapshots) > 1:
            target = snapshots[1]
        else:
            raise RunError("SG615", "this run is at its start")
        if self._mine:
            history.go_back(self._opened.runner.graph, target)
        else:
            self._copy(snapshots[snapshots.index(target) :])
        return self

    def edit(self, *, intent: str | Mapping[str, Any] | None = None, **changes: Any) -> Step:
        """Change the current state: ``edit(answer={"text": "…"}, intent="outage_report")``.

        A map is merged over the existing one; an intent's label sets what the workflow defines for it. The last node's
        branch is decided again on the new state, and the trail says that it was edited.
        Raises `RunError` SG615 for a field that the state does not have or an edit may not touch.
        """
        self._make_mine()
        fields = {**changes, **({} if intent is None else {"intent": intent})}
        update = edited(self.workflow, self._values(), fields, at=self._opened.runner.services.now().isoformat())
        history.write(self._opened.runner.graph, self._run, update)
        return self.diff

    def fork(
        self,
        at: str | None = None,
        *,
        prompt: "str | Path | Mapping[str, str | Path] | None" = None,
        model: str | Mapping[str, str] | None = None,
        threshold: float | None = None,
        config: "Path | str | Workflow | None" = None,
        dry: bool = True,
    ) -> "Session":
        """A new run from here, or from before the latest visit of the node `at`; this run is not changed.

        `prompt` (a text or a file) replaces the prompt of the next node that has one, `model` is the model of the role
        ``slm``; maps name prompts and roles. `threshold` replaces the router's, also where it was read already.
        `config` continues on another workflow file. The overlay is checked and proved first.
        Raises `ConfigError`, and `RunError` SG615 when the other workflow lacks a visited node.
        """
        snapshots = history.lineage(self._opened.runner.graph, self._run)
        if at is not None:
            self._known(at)
            target = history.before(snapshots, at)
            snapshots = snapshots[snapshots.index(target) :]
        workflow = overlaid(self.workflow, snapshots[0], prompt, model, threshold, config)
        fork = opened(workflow, dry=dry, change=self._change)
        run = copied(snapshots, fork, self._run, threshold)
        return Session(fork, run, change=self._change, mine=True, begun=False)

    # --- showing ---

    @property
    def svg(self) -> str:
        """The graph with the path taken, as one self-contained SVG."""
        return session_svg(self.workflow, self._values(), self.node, waiting=self.waiting)

    def _repr_html_(self) -> str:
        return session_html(self.workflow, self._values(), self.node, waiting=self.waiting)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        del include, exclude
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return session_text(self.workflow, self._values(), self.node, waiting=self.waiting)

    # --- internals ---

    def _head(self) -> "StateSnapshot":
        return history.head(self._opened.runner.graph, self._run)

    def _values(self) -> State:
        return cast("State", self._head().values)

    async def _step(self) -> Step:
        await self._run_segment(Pause(after="*"))
        return await self._diff()

    async def _go(self, until: str | None) -> "Session":
        if until is not None:
            self._known(until)
            self._outside_of_branches(until)
        await self._run_segment(Pause(before=[until]) if until else None)
        return self

    async def _run_segment(self, pause: Pause | None) -> None:
        state = await self._opened.runner.call(self._ahead)
        if await self._opened.runner.call(lambda: self.waiting):
            # for a time that has come
            await self._opened.runner.expire(self._run, pause=pause)
            return
        begins, self._begun = not self._begun, True
        await self._opened.runner.run_segment(self._run, None, state, begins=begins, pause=pause)

    def _ahead(self) -> State:
        """The state that the run goes on from; a copy's, when the run is not this session's."""
        self._make_mine()
        if waiting := self.waiting:
            asked, how = waiting["approvers"], "approve(), reject() or edit_…()"
            if waiting["waits_for"] == "answer":
                asked, how = f"the answer of {waiting['principal']}", "answer(TEXT, as_=…)"
            elif waiting["waits_for"] == "time":
                if not is_due(waiting, self._opened.runner.services.now()):
                    raise RunError("SG615", f"the run waits until {waiting['deadline']}", hint="Go on then")
                return self._values()
            raise RunError("SG615", f"the run waits for {asked}", hint=how)
        if self.node is None:
            raise RunError(
                "SG615", "the run has ended", hint="rewind(NODE) goes back; fork(at=NODE) starts another run"
            )
        return self._values()

    async def _decide(
        self,
        verdict: str,
        as_: Person,
        role: str | Sequence[str],
        reason: str,
        text: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> Step:
        if await self._opened.runner.call(lambda: self.waiting) is None:
            raise NotWaitingError(f"run {self._run} is not waiting for a decision")
        if not self._mine:
            await self._opened.runner.call(self._make_mine)
            await self._run_segment(Pause(after="*"))  # the copy interrupts again
        person = intake.principal(as_, _listed(role)) if isinstance(as_, str) else as_
        await self._opened.runner.decide(
            self._run, verdict, person, reason=reason, text=text, arguments=arguments, pause=Pause(after="*")
        )
        return await self._diff()

    async def _diff(self) -> Step:
        return await self._opened.runner.call(lambda: self.diff)

    def _make_mine(self) -> None:
        if not self._mine:
            self._copy(history.lineage(self._opened.runner.graph, self._run))

    def _copy(self, snapshots: "Sequence[StateSnapshot]") -> None:
        """Continue with a copy of a run that is not this session's; its tools are dry since it was opened."""
        self._run = copied(snapshots, self._opened, self._run)
        self._mine, self._begun = True, False

    def _known(self, node: str) -> None:
        nodes = self.workflow.flow.nodes
        if node not in nodes:
            near = nearest(node, nodes)
            hint = f"Did you mean {near!r}?" if near else f"One of: {', '.join(nodes)}"
            raise RunError("SG615", f"{self.workflow.name} has no node {node!r}", hint=hint)

    def _outside_of_branches(self, node: str) -> None:
        for one in branches_of(self.workflow.flow).values():
            if node in one.inside:
                raise RunError(
                    "SG615",
                    f"{node!r} is in a branch of {one.fork!r}, whose branches are one step",
                    hint=f"Stop before {one.fork!r} or its join, {one.join!r}",
                )


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
