"""The guarantees of the bus, as checks of what a run has done. Each is one promise of ``docs/guarantees.md``."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from simulation.evidence import STRANGER, Evidence
from simulation.plan import Plan
from simulation.record import Ended, Reader


class Violation(NamedTuple):
    """A promise that was not kept."""

    oracle: str
    facts: str


_BREAKS: Final = frozenset(
    {"cut", "half", "lag", "narrow", "kill_server", "freeze_server", "kill", "freeze", "leader", "rollback", "recreate"}
) | {"err"}
"""Faults after which the server may redeliver what a plain consumer has handled."""
_NEW_STREAM: Final = frozenset({"rollback", "recreate"})
_DOCUMENTED_ENDS: Final = {"ConsumerGone": frozenset({"recreate", "rollback"}), "NoStream": frozenset({"recreate"})}
"""Errors that a process may end with, by the faults that explain them."""
_NOBODY_ANSWERS: Final = frozenset({"JetStreamUnavailable", "StoreError"})
"""Errors of a start that nobody answers; the second is that of a store in the bus."""
_TO_LEAVE: Final = 2.0
"""Seconds beside its budget within which a process has said goodbye to the server."""
_ASKED_FOR: Final = 4.0
"""Seconds out of those it asks in for which nobody must have answered a start that gives up."""
_BEFORE_ITS_END: Final = 10.0
"""Seconds before its end within which a process that gives up has asked; it may have to drain afterwards."""
_KEEP_AWAY: Final = {
    "freeze": (0.5, 10.0),
    "freeze_server": (0.2, 6.0),
    "kill_server": (0.2, 3.0),
    "leader": (0.1, 3.0),
    "half": (4.0, 0.0),
    "lag": (1.0, 3.0),
    "narrow": (1.0, 3.0),
}
"""Seconds that a fault keeps the server's answers away: at least, and with all of it how many more."""
_OF_ONE: Final = frozenset({"freeze", "half", "lag", "narrow"})
"""Those of them that concern one process."""
_ADD_UP: Final = frozenset({"freeze", "freeze_server"})
"""Those of them that begin when the one before of the same kind is over: who is stopped twice stands still for both."""


def judge(evidence: Evidence) -> list[Violation]:
    """All promises that were broken."""
    return [violation for oracle in _ORACLES for violation in oracle(evidence)]


def _acked_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """What ``emit`` has returned for is on the stream."""
    record = evidence.record
    if not record.all_emitted:
        yield Violation("emit never ends", f"{record.emitted} of {evidence.plan.events} emitted")
    missing = [order for order in record.acked if order not in evidence.stored and order not in record.excused]
    if missing and evidence.plan.workload == "outbox":
        yield Violation("committed, never published", f"orders {missing[:8]}")
    elif missing:
        yield Violation("acked, not stored", f"orders {missing[:8]}")


def _stored_once(evidence: Evidence) -> Iterator[Violation]:
    """An event that is published again after a lost ack is recognised."""
    if evidence.messages > len(evidence.stored) and not evidence.plan.kinds & _NEW_STREAM:
        yield Violation("stored twice", f"{evidence.messages} messages of {len(evidence.stored)} orders")


def _handled_or_dead_letter(evidence: Evidence) -> Iterator[Violation]:
    """What is stored is handled or a dead letter, and everything settles in time."""
    for durable, reader in evidence.record.readers.items():
        done = reader.done | evidence.letters[durable].keys()
        due = [order for order in evidence.stored if _reads(reader, order, evidence)]
        missing = [order for order in due if order not in done]
        state = evidence.unsettled.get(durable, "settled")
        if missing and evidence.quiet:
            yield Violation("acknowledged unseen", f"{durable}: orders {missing[:8]}")
        elif missing:
            yield Violation("never handled", f"{durable}: {len(missing)} orders, such as {missing[:4]}; {state}")
        elif not evidence.quiet and durable in evidence.unsettled:
            yield Violation("never settled", f"{durable}: {state}")


def _reads(reader: Reader, order: int, evidence: Evidence) -> bool:
    """Whether an order is known to be there, and is one that ``reader`` reads."""
    acked = evidence.record.acked.get(order)
    if acked is None:
        return order >= STRANGER
    return reader.key in (None, acked.key)


def _not_again(evidence: Evidence) -> Iterator[Violation]:
    """What this process has handled is not handed out by it again."""
    kinds = evidence.plan.kinds
    if kinds & _NEW_STREAM:
        return
    for durable, reader in evidence.record.readers.items():
        times = Counter((effect.process, effect.order) for effect in reader.effects)
        again = [each for each, count in times.items() if count > 1]
        if reader.once or (reader.shared and kinds & _BREAKS):
            continue  # the store says what was done twice
        if again and (reader.ordered or not kinds & _BREAKS):
            yield Violation("handled again by the same process", f"{durable}: {len(again)}, such as {again[:3]}")
        elif not kinds & _BREAKS and len(reader.effects) > len(reader.done):
            yield Violation("handled twice without a fault", f"{durable}: {len(reader.effects) - len(reader.done)}")


def _in_order(evidence: Evidence) -> Iterator[Violation]:
    """Ordered: per key, always. Plain: as the stream, while nothing fails or breaks."""
    plan = evidence.plan
    if plan.kinds & _NEW_STREAM:
        return
    for durable, reader in evidence.record.readers.items():
        first = list(dict.fromkeys(effect.order for effect in reader.effects if effect.order < STRANGER))
        if reader.ordered:
            yield from _keys_in_order(durable, first, evidence)
        elif (
            not reader.shared
            and not plan.kinds & (_BREAKS | {"fail"})
            and plan.concurrency == 1
            and first != sorted(first)
        ):
            at = next(at for at in range(len(first) - 1) if first[at] > first[at + 1])
            yield Violation("order of the stream", f"{durable}: {first[max(0, at - 1) : at + 7]}")


def _keys_in_order(durable: str, first: list[int], evidence: Evidence) -> Iterator[Violation]:
    latest: dict[str, int] = {}
    for order in first:
        acked = evidence.record.acked.get(order)
        if acked is None:
            continue
        if order < latest.get(acked.key, -1):
            yield Violation("order of a key", f"{durable}: {order} after {latest[acked.key]} of {acked.key}")
            return
        latest[acked.key] = order


def _in_office(evidence: Evidence) -> Iterator[Violation]:
    """Nobody begins with an event once another has taken over; but while the pin is forgotten, with its leader."""
    if evidence.plan.kinds & {"leader", "kill_server"}:
        return
    for durable, reader in evidence.record.readers.items():
        latest = ("", 0)
        for process, term in reader.terms:
            if term < latest[1]:
                yield Violation("begun when another was in office", f"{durable}: {process} in {term}, after {latest}")
                break
            latest = process, term


def _booked_once(evidence: Evidence) -> Iterator[Violation]:
    """A SQL store has each effect once, and none of a transaction that was rolled back; nothing stays in the outbox."""
    record = evidence.record
    for durable, reader in record.readers.items():
        if twice := [order for order, count in reader.booked.items() if count > 1]:
            yield Violation("booked twice", f"{durable}: orders {twice[:8]}")
        if reader.once and (ghosts := sorted(evidence.stored.keys() - record.acked.keys())):
            yield Violation("published, never committed", f"orders {ghosts[:8]}")
        if reader.once and evidence.quiet and record.unpublished:
            yield Violation("left in the outbox", f"{len(record.unpublished)} rows")
        published = sorted(evidence.stored, key=evidence.stored.__getitem__)
        if reader.once and published != sorted(published):
            yield Violation("order of the outbox", f"{published[:20]}")


def _one_end(evidence: Evidence) -> Iterator[Violation]:
    """What was handled is no dead letter, but for what nobody can know (:func:`_unknown`)."""
    if evidence.plan.kinds & _NEW_STREAM:
        return
    for durable, reader in evidence.record.readers.items():
        letters = evidence.letters[durable]
        both = sorted(reader.done & letters.keys())
        if both := [order for order in both if not _unknown(evidence, reader, order)]:
            yield Violation("handled and dead letter", f"{durable}: orders {both[:8]}: {letters[both[0]].error}")


def _unknown(evidence: Evidence, reader: Reader, order: int) -> bool:
    """Whether an order may be handled and a dead letter, because something broke.

    Without a SQL store: its ack was lost, and a later try of it failed. With one: two of its tries were at work at a
    time, one of them in a process that the server did not hear for an ack wait, and the last one failed, or was not
    known to have ended. No further one is begun once it is a dead letter.
    """
    if not evidence.plan.kinds & _BREAKS:
        return False
    if reader.once:
        most = evidence.plan.max_deliveries  # and the first one, which is not counted, when it crashed
        # A first delivery that waited in a process which stood still is not counted, and nobody is asked about it.
        late = any(effect.order == order and effect.deliveries == 1 for effect in reader.effects)
        return most <= reader.begun[order] <= most + reader.crashes[order] + late
    return reader.failures[order] + reader.crashes[order] > 0


_OF_SHARED: Final = (
    *("reader-a", "reader-b", "service-a", "service-b"),
    *(f"{workload}-{name}" for workload in ("standby", "share") for name in "abc"),
)
"""Roles that read a durable which is not named after them."""


def _only_failures_count(evidence: Evidence) -> Iterator[Violation]:
    """A dead letter for too many deliveries stands for as many failures of its handler, crashes included.

    Where something broke, for as many handlers that were begun: the end of one may have remained unknown. A process may
    be killed when a try is stored and its handler not called yet: each kill explains one missing try.
    """
    plan = evidence.plan
    for durable, reader in evidence.record.readers.items():
        kills = sum(fault.kind == "kill" and fault.who in (durable, *_OF_SHARED) for fault in plan.faults)
        tries = reader.begun if plan.kinds & _BREAKS else reader.failures + reader.crashes
        unexplained = kills
        for order, letter in evidence.letters[durable].items():
            if letter.reason != "max_deliveries" or tries[order] >= plan.max_deliveries:
                continue
            unexplained -= plan.max_deliveries - tries[order]
            if unexplained < 0:
                facts = f"tried {tries[order]} times of {plan.max_deliveries}, {letter.deliveries} deliveries"
                yield Violation("deliveries taken for failures", f"{durable}: order {order} {facts}: {letter.error}")
                break


def _documented_ends(evidence: Evidence) -> Iterator[Violation]:
    """A process ends by itself only with an error that is documented for what happened."""
    for ended in evidence.record.ended:
        unanswered = ended.error in _NOBODY_ANSWERS and "did not answer" in ended.words
        if unanswered and _away(evidence.plan, ended) > _ASKED_FOR:
            continue
        if not _DOCUMENTED_ENDS.get(ended.error, frozenset()) & evidence.plan.kinds:
            yield Violation(f"process ended: {ended.error}", f"{ended.process} at {ended.at}: {ended.words}")


def _away(plan: Plan, ended: Ended) -> float:
    """Seconds in all for which faults kept the server's answers away from a process that ended, before it did."""
    role, _, _ = ended.process.partition("#")
    since, seconds = ended.at - _BEFORE_ITS_END, 0.0
    stopped: dict[str, float] = {}
    for fault in sorted(plan.faults, key=lambda fault: fault.at):
        if fault.kind in _KEEP_AWAY and (fault.kind not in _OF_ONE or fault.who == role):
            least, more = _KEEP_AWAY[fault.kind]
            begin = max(fault.at, stopped.get(fault.kind, 0.0))
            end = begin + least + more * fault.x
            if fault.kind in _ADD_UP:
                stopped[fault.kind] = end
            seconds += max(0.0, min(ended.at, end) - max(since, begin))
    return seconds


def _nothing_unretrieved(evidence: Evidence) -> Iterator[Violation]:
    """No exception is left behind that nobody waits for."""
    if evidence.unretrieved:
        yield Violation("exception nobody waited for", "; ".join(evidence.unretrieved)[:300])


def _not_busy(evidence: Evidence) -> Iterator[Violation]:
    """No process turns its loop for nothing."""
    if evidence.busy:
        yield Violation("busy loop", "; ".join(evidence.busy))


def _last_answer_is_the_reason(evidence: Evidence) -> Iterator[Violation]:
    """Where the server has answered, an emit that gives up says so, and not that the event may be stored."""
    if not evidence.plan.kinds & _BREAKS:
        for order, error in evidence.record.refused:
            if error == "PublishUncertain":
                yield Violation("uncertain though the server answered", f"order {order}")
                return


def _ends_in_time(evidence: Evidence) -> Iterator[Violation]:
    """A process that is asked to end does so within its budget."""
    if evidence.plan.kinds & (_BREAKS | {"block"}):
        return
    for process, seconds in evidence.record.drained:
        if seconds > evidence.budget + _TO_LEAVE:
            yield Violation("longer than its drain budget", f"{process} took {seconds:.1f} s of {evidence.budget:g}")


def _nothing_left_behind(evidence: Evidence) -> Iterator[Violation]:
    """A reader that nobody refers to any more is gone."""
    if evidence.left:
        yield Violation("left behind", "; ".join(evidence.left))


_ORACLES: Final[tuple[Callable[[Evidence], Iterator[Violation]], ...]] = (
    _acked_is_stored,
    _stored_once,
    _handled_or_dead_letter,
    _not_again,
    _in_order,
    _in_office,
    _booked_once,
    _one_end,
    _only_failures_count,
    _documented_ends,
    _nothing_unretrieved,
    _not_busy,
    _last_answer_is_the_reason,
    _ends_in_time,
    _nothing_left_behind,
)
