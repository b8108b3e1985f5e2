"""Nothing newer passes while something older may be missing, whatever is lost, doubled or forgotten on the way."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.consuming.ordering.gap_guard import GapGuard, Snapshot
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState


def lowered(last: int) -> GapGuard[str]:
    """A guard that is down, the last delivery being number ``last``."""
    guard: GapGuard[str] = GapGuard()
    assert guard.answer(guard.ask(), ConsumerState(0, last, last, last), ()) == 0
    return guard


def test_it_is_up_until_the_server_says_that_nothing_is_under_way():
    guard: GapGuard[str] = GapGuard()
    assert guard.up
    assert guard.answer(guard.ask(), ConsumerState(2, 3, 8, 9), ()) == 2
    assert guard.up
    assert guard.answer(guard.ask(), ConsumerState(0, 8, 8, 11), ()) == 0
    assert not guard.up


def test_deliveries_without_a_gap_pass_and_a_gap_raises_it():
    guard = lowered(4)
    assert not guard.came(5)
    assert not guard.came(6)
    assert guard.came(8)
    assert guard.up


def test_what_is_here_is_not_missing_but_what_is_acknowledged_or_newer_does_not_count_for_it():
    guard: GapGuard[str] = GapGuard()
    snapshot = guard.ask()
    assert guard.answer(snapshot, ConsumerState(2, 5, 9, 9), (3, 7, 12)) == 1
    guard.hold((9, 0), "nine")
    assert guard.answer(snapshot, ConsumerState(2, 5, 9, 9), (3, 7, 12)) == 0


def test_an_answer_says_nothing_of_what_went_wrong_after_the_snapshot():
    guard: GapGuard[str] = GapGuard()
    snapshot = guard.ask()
    guard.doubt()
    assert guard.answer(snapshot, ConsumerState(0, 0, 0, 0), ()) is None
    assert guard.up


def test_a_server_that_forgot_deliveries_is_followed_in_its_new_count():
    guard = lowered(10)
    guard.doubt()
    assert guard.answer(guard.ask(), ConsumerState(0, 5, 5, 5), ()) == 0
    assert not guard.came(6)


def test_what_the_server_has_forgotten_is_held_no_more_but_what_came_after_the_snapshot_is():
    guard: GapGuard[str] = GapGuard()
    guard.hold((2, 0), "b")
    snapshot = guard.ask()
    guard.hold((1, 0), "a")
    state = ConsumerState(0, 0, 0, 0)
    assert guard.answer(snapshot, state, ()) == 0
    assert guard.take_forgotten() == ["b"]
    assert guard.release() == ["a"]


def test_while_deliveries_come_by_the_old_count_a_server_that_forgot_is_asked_again():
    guard = lowered(10)
    guard.doubt()
    snapshot = guard.ask()
    guard.came(11)
    assert guard.answer(snapshot, ConsumerState(0, 5, 5, 5), ()) is None


def test_who_has_given_up_lets_gaps_pass_until_the_next_doubt():
    guard = lowered(1)
    guard.came(9)
    guard.give_up()
    assert not guard.came(20)
    assert not guard.up
    guard.doubt()
    assert guard.up


def test_a_later_delivery_replaces_an_earlier_one_and_all_come_out_in_order():
    guard: GapGuard[str] = GapGuard()
    assert [guard.hold((2, 0), "b"), guard.hold((1, 0), "a"), guard.hold((2, 0), "B")] == [None, None, "b"]
    assert len(guard) == 2
    assert guard.release() == ["a", "B"]
    assert guard.release() == []


@dataclass
class Server:
    """A durable that ten messages are waiting for, as nats-server keeps it; a crash forgets what it had not written."""

    pending: dict[int, None] = field(default_factory=dict[int, None])
    delivered: int = 0
    deliveries: int = 0
    written: tuple[tuple[int, ...], int, int] = ((), 0, 0)

    def deliver(self, again: int | None) -> tuple[int, int] | None:
        """The next delivery: sequence and its number; ``again`` chooses one of the pending instead of a new one."""
        if again is not None and self.pending:
            seq = sorted(self.pending)[again % len(self.pending)]
        elif self.delivered < 10:
            self.delivered = seq = self.delivered + 1
        else:
            return None
        self.pending[seq] = None
        self.deliveries += 1
        return seq, self.deliveries

    def state(self) -> ConsumerState:
        floor = min(self.pending) - 1 if self.pending else self.delivered
        return ConsumerState(len(self.pending), floor, self.delivered, self.deliveries)

    def write(self) -> None:
        self.written = tuple(self.pending), self.delivered, self.deliveries

    def crash(self) -> None:
        pending, self.delivered, self.deliveries = self.written
        self.pending = dict.fromkeys(pending)


class Reader:
    """One process after the other that reads it, as the consumer does; everything takes its time on the way."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.done: set[int] = set()
        self.acks: list[int] = []
        self.start_anew()

    def start_anew(self) -> None:
        self.guard = GapGuard[int]()
        self.arrived: list[tuple[int, int]] = []
        self.under_way: list[int] = []
        self.remembered: set[int] = set()
        self.asked: Snapshot | None = None
        self.told: ConsumerState | None = None
        while self.acks:
            self.ack_arrives()

    def ack_arrives(self) -> None:
        self.server.pending.pop(self.acks.pop(0), None)

    def break_off(self) -> None:
        self.acks.clear()
        self.guard.doubt()

    def take(self) -> None:
        seq, number = self.arrived.pop(0)
        self.guard.came(number)
        if seq in self.remembered:
            self.acks.append(seq)
        elif seq in self.under_way:
            pass
        elif self.guard.up:
            self.guard.hold((seq, 0), seq)
        else:
            self.enter(seq)

    def enter(self, seq: int) -> None:
        assert set(range(1, seq)) <= {*self.under_way, *self.done}
        self.under_way.append(seq)

    def settle(self, choice: int) -> None:
        seq = self.under_way.pop(choice % len(self.under_way))
        self.done.add(seq)
        self.remembered.add(seq)
        self.acks.append(seq)

    def ask(self) -> None:
        """The first time a snapshot leaves, the second time it arrives, the third time the answer comes."""
        if not self.guard.up:
            return
        if self.asked is None:
            self.asked = self.guard.ask()
        elif self.told is None:
            self.told = self.server.state()
        else:
            snapshot, state, self.asked, self.told = self.asked, self.told, None, None
            if self.guard.answer(snapshot, state, self.under_way) == 0:
                for seq in self.guard.release():
                    self.enter(seq)


STEPS = st.tuples(
    st.sampled_from(
        ["deliver", "take", "lose", "settle", "ack", "ask", "ask", "ask", "write", "break", "crash", "start anew"]
    ),
    st.none() | st.integers(0, 9),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_a_message_passes_when_all_older_ones_are_done_or_under_way(
    steps: list[tuple[str, int | None]],
):
    server = Server()
    reader = Reader(server)
    for what, choice in steps:
        match what:
            case "deliver" if (delivery := server.deliver(choice)) is not None:
                reader.arrived.append(delivery)
            case "take" if reader.arrived:
                reader.take()
            case "lose":
                server.deliver(choice)
            case "settle" if reader.under_way:
                reader.settle(choice or 0)
            case "ack" if reader.acks:
                reader.ack_arrives()
            case "ask":
                reader.ask()
            case "write":
                server.write()
            case "break":
                reader.break_off()
            case "crash":
                server.crash()
                reader.break_off()
            case "start anew":
                reader.start_anew()
            case _:
                pass
