"""Nothing newer passes while something older may be missing, whatever is lost, doubled or forgotten on the way."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.barrier import Barrier, Question, Standing


def lowered(last: int) -> Barrier[str]:
    """A barrier that is down, the last delivery being number ``last``."""
    barrier: Barrier[str] = Barrier()
    assert barrier.answer(barrier.ask(), Standing(0, last, last, last), ()) == 0
    return barrier


def test_it_is_up_until_the_server_says_that_nothing_is_under_way():
    barrier: Barrier[str] = Barrier()
    assert barrier.up
    assert barrier.answer(barrier.ask(), Standing(2, 3, 8, 9), ()) == 2
    assert barrier.up
    assert barrier.answer(barrier.ask(), Standing(0, 8, 8, 11), ()) == 0
    assert not barrier.up


def test_deliveries_without_a_gap_pass_and_a_gap_raises_it():
    barrier = lowered(4)
    assert not barrier.came(5)
    assert not barrier.came(6)
    assert barrier.came(8)
    assert barrier.up


def test_what_is_here_is_not_missing_but_what_is_acknowledged_or_newer_does_not_count_for_it():
    barrier: Barrier[str] = Barrier()
    question = barrier.ask()
    assert barrier.answer(question, Standing(2, 5, 9, 9), (3, 7, 12)) == 1
    barrier.hold(9, "nine")
    assert barrier.answer(question, Standing(2, 5, 9, 9), (3, 7, 12)) == 0


def test_an_answer_says_nothing_of_what_went_wrong_after_the_question():
    barrier: Barrier[str] = Barrier()
    question = barrier.ask()
    barrier.doubt()
    assert barrier.answer(question, Standing(0, 0, 0, 0), ()) is None
    assert barrier.up


def test_a_server_that_forgot_deliveries_is_followed_in_its_new_count():
    barrier = lowered(10)
    barrier.doubt()
    assert barrier.answer(barrier.ask(), Standing(0, 5, 5, 5), ()) == 0
    assert not barrier.came(6)


def test_what_the_server_has_forgotten_is_held_no_more_but_what_came_after_the_question_is():
    barrier: Barrier[str] = Barrier()
    barrier.hold(2, "b")
    question = barrier.ask()
    barrier.hold(1, "a")
    standing = Standing(0, 0, 0, 0)
    assert barrier.answer(question, standing, ()) == 0
    assert barrier.take_forgotten() == ["b"]
    assert barrier.release() == ["a"]


def test_while_deliveries_come_by_the_old_count_a_server_that_forgot_is_asked_again():
    barrier = lowered(10)
    barrier.doubt()
    question = barrier.ask()
    barrier.came(11)
    assert barrier.answer(question, Standing(0, 5, 5, 5), ()) is None


def test_who_has_given_up_lets_gaps_pass_until_the_next_doubt():
    barrier = lowered(1)
    barrier.came(9)
    barrier.give_up()
    assert not barrier.came(20)
    assert not barrier.up
    barrier.doubt()
    assert barrier.up


def test_a_later_delivery_replaces_an_earlier_one_and_all_come_out_in_order():
    barrier: Barrier[str] = Barrier()
    assert [barrier.hold(2, "b"), barrier.hold(1, "a"), barrier.hold(2, "B")] == [None, None, "b"]
    assert len(barrier) == 2
    assert barrier.release() == ["a", "B"]
    assert barrier.release() == []


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

    def standing(self) -> Standing:
        floor = min(self.pending) - 1 if self.pending else self.delivered
        return Standing(len(self.pending), floor, self.delivered, self.deliveries)

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
        self.barrier = Barrier[int]()
        self.arrived: list[tuple[int, int]] = []
        self.under_way: list[int] = []
        self.remembered: set[int] = set()
        self.asked: Question | None = None
        self.told: Standing | None = None
        while self.acks:
            self.ack_arrives()

    def ack_arrives(self) -> None:
        self.server.pending.pop(self.acks.pop(0), None)

    def break_off(self) -> None:
        self.acks.clear()
        self.barrier.doubt()

    def take(self) -> None:
        seq, number = self.arrived.pop(0)
        self.barrier.came(number)
        if seq in self.remembered:
            self.acks.append(seq)
        elif seq in self.under_way:
            pass
        elif self.barrier.up:
            self.barrier.hold(seq, seq)
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
        """The first time a question leaves, the second time it arrives, the third time the answer comes."""
        if not self.barrier.up:
            return
        if self.asked is None:
            self.asked = self.barrier.ask()
        elif self.told is None:
            self.told = self.server.standing()
        else:
            question, standing, self.asked, self.told = self.asked, self.told, None, None
            if self.barrier.answer(question, standing, self.under_way) == 0:
                for seq in self.barrier.release():
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
