"""A recorded run's request once more, with the answers that its requester gave."""

from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.state import State

__all__ = ["run_again"]


async def run_again(runner: Runner, recorded: State) -> Outcome:
    """Run what a recorded run was asked, as the turn that it was and with its inputs and attachments. Where the
    requester is asked something, the recorded answers are given, in their order; behind the last one, a question stays
    open.

    Raises as `Runner.run` does.
    """
    request, replies, person = recorded["request"], recorded.get("replies") or [], recorded["principal"]
    text = replies[0]["before"] if replies else request["text"]
    outcome = await runner.run(
        text,
        person,
        channel=request["channel"],
        turn=recorded.get("conversation"),
        inputs=recorded.get("inputs"),
        attachments=request.get("attachments", ()),
    )
    for reply in replies:
        if not outcome.waiting or outcome.waiting["waits_for"] != "answer":
            break
        outcome = await runner.decide(outcome.run, "answer", person, text=reply["text"])
    return outcome
