"""Memory of a publisher that outruns a frozen server: best effort drops and counts, durable waits."""

from harness import Column, Plan, Section, alone, rounds, run_alone

COLUMNS = (
    Column("MB more at the peak", "megabytes", ".1f"),
    Column("events offered", "offered", ",.0f"),
    Column("dropped, counted", "dropped", ",.0f"),
    Column("stored in the end", "stored", ",.0f"),
)
NOTE = (
    "The server is stopped (SIGSTOP) for five seconds under a connected publisher; the bus notices within three. "
    "Dropped counts what never left, and what had been handed to the connection that was given up."
)
PUBLISHERS = (
    alone("send_volatile, best effort, flat out", "memory", "send_volatile", ours=True),
    alone("emit, durable, 100 tasks", "memory", "emit", ours=True),
    alone("emit_many, durable, one call", "memory", "emit_many", ours=True),
)


async def measure(plan: Plan) -> list[Section]:
    """Each of them on a server of its own; one round says it, as memory is not noisy."""
    outcomes = rounds(plan.chosen(PUBLISHERS), plan.stored, 1, lambda c, n: run_alone(c.subscriber, "", str(n)))
    return [Section("memory", "Memory of a publisher while the server is frozen", COLUMNS, "", outcomes, NOTE)]
