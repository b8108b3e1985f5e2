"""What people say to a run that was begun: go on, stop, or end where it is."""

from dataclasses import replace
from typing import Literal, get_args

from mts1b_operations.people.asked import Asked, Declined
from mts1b_operations.people.runs import Held, Progress, Runs, now

Order = Literal["go-on", "stop", "end"]


def order_of(asked: Asked) -> Order:
    """What is said.

    Raises:
        Declined: nothing that a run understands.
    """
    said = asked.text("order")
    for each in get_args(Order):
        if said == each:
            return each
    raise Declined("bad-request", f"a run does not understand {said!r}", "'order' is go-on, stop or end")


async def order(runs: Runs, asked: Asked, said: Order) -> Held:
    """Have it done; whoever may begin such a run may say it, not only who began this one.

    Raises:
        Declined: there is no such run of this scope, or it is finished.
        StoreError: the bucket cannot be used.
    """
    run_id = asked.text("run_id", least=1, most=200)
    while True:
        held = await runs.find(run_id)
        if held is None or held.run.what != asked.what or not held.run.within(asked.scope):
            raise Declined(
                "not-found", f"there is no run {run_id} of {asked.what} for {asked.scope.words}", "look again"
            )
        if held.progress.state == "finished":
            raise Declined("finished", f"run {run_id} is finished", "look again")
        wanted = _after(held, said, asked.by)
        if wanted is None:
            return held
        if (written := await runs.write(held, wanted)) is not None:
            return written


def _after(held: Held, said: Order, by: str) -> Progress | None:
    """How the run is after it; None when it is so already."""
    progress = held.progress
    changed = replace(progress, holder="", trouble="", ordered_by=by, changed=now())
    if said == "go-on":
        return None if progress.state == "running" else replace(changed, state="running", until=len(held.run.ids))
    if said == "stop":
        return None if progress.state == "stopped" else replace(changed, state="stopped")
    return replace(changed, state="finished")
