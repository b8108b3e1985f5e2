"""What can go wrong on the bus, and what to do about it.

::

    Mts1bError                      (mts1b_foundation.errors)
    └── BusError                    anything that went wrong on the bus
        ├── ServerUnavailable       no NATS server answers
        │   ├── StaleConnection         the server has been silent for too long
        │   ├── ServerLeaving           the server is shutting down (lame duck)
        │   └── ServerIsolated          through this server nobody is reached who should answer
        ├── JetStreamUnavailable    a server without JetStream, or one that cannot reach its peers
        ├── AccessDenied            this identity may not do that on that subject
        │   └── IdentityRefused         no server lets this identity connect
        ├── ServerError             what the server said in an error line (-ERR)
        ├── ProtocolViolation       what the server sent cannot be understood
        ├── OutboundBufferFull      too many bytes wait for the server
        ├── RequestTimeout          no answer in time
        ├── NoResponders            nobody answers requests on the subject
        ├── SubscriptionRefused     the server takes no more subscriptions of this connection
        ├── WrongEventLoop          a connection was used outside the event loop that it was made in
        ├── InvalidArgument         a call was given something that cannot work: nothing was sent
        ├── PublishError            an event was not published
        │   ├── NotTheProducer          this process does not speak as the subject's one producer
        │   ├── NoStream                no stream stores the subject
        │   ├── InvalidHeader           a header that cannot go on the wire, or two that differ by case
        │   ├── BatchRefused            the stream refused an atomic batch: nothing of it was stored
        │   │   └── AlreadyStored           because it knows the message id of one of its events
        │   ├── PayloadTooLarge         more bytes than the server takes
        │   └── PublishUncertain        no ack before the deadline: the event may have been stored or not
        ├── ConsumeError            a consumer cannot go on
        │   ├── ConsumerConflict        the durable exists with another configuration
        │   ├── ConsumerGone            the durable was deleted under a running consumer
        │   └── NotStored               a best-effort subject was asked for with a durable
        ├── StreamError             a stream cannot be created or changed as defined
        ├── StoreError              a dedupe store or an outbox cannot be used: a consumer pauses, its event waits
        │   ├── StoreMisused            it was used wrongly: a failure of the handler like any other
        │   ├── LeaseLost               somebody else took over while the handler was at work
        │   └── Superseded              another instance's term of office is greater: nothing was written
        └── BusClosed               the connection was closed
            └── BusDraining             the connection is about to close: it takes no new subscriptions

Signals are no errors; a handler raises them to say what shall happen to its event:

    Reject                          trying again is of no use: dead-letter it now
    Retry                           try again after this delay, whatever the policy says
    AlreadyDone                     it was handled before: acknowledge it (raised by ``event.once``)
"""

from collections.abc import MutableSequence
from typing import Any, Final

from mts1b_foundation.errors import Mts1bError


class BusError(Mts1bError):
    """Anything that went wrong on the bus."""


class ServerUnavailable(BusError, ConnectionError):
    """No NATS server answers."""


class StaleConnection(ServerUnavailable):
    """The server sent nothing for too long, though it was asked; the connection is made anew."""


class ServerLeaving(ServerUnavailable):
    """The server announced that it shuts down (lame duck); the connection moves to another one."""


class ServerIsolated(ServerUnavailable):
    """Through this server nobody was reached who should answer, for too long; the connection moves to another one."""


class JetStreamUnavailable(BusError):
    """The server has no JetStream, or JetStream does not answer."""


class AccessDenied(BusError, PermissionError):
    """This identity may not do that on that subject."""


class IdentityRefused(AccessDenied):
    """No server lets this identity connect."""


class ServerError(BusError):
    """What the server said in an error line (``-ERR``), word for word."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the NATS server says: {words}")
        self.words = words


class ProtocolViolation(BusError, ConnectionError):
    """What the server sent cannot be understood; the connection is made anew."""


class OutboundBufferFull(BusError, BufferError):
    """Too many bytes wait for the server: await ``writable()`` before sending more."""


class RequestTimeout(BusError, TimeoutError):
    """No answer came in time."""


class NoResponders(BusError):
    """Nobody answers requests on the subject: start the service that does."""


class SubscriptionRefused(BusError):
    """The server takes no more subscriptions of this connection: raise its limit, or use a further connection."""


class WrongEventLoop(BusError, RuntimeError):
    """A connection was used from another event loop, thread or process than the one it was made in."""


class InvalidArgument(BusError, ValueError):
    """A call was given something that cannot work; nothing was sent or created."""


class PublishError(BusError):
    """An event was not published."""


class NotTheProducer(PublishError):
    """This process does not speak as the one producer of the subject."""


class NoStream(PublishError):
    """No stream stores the subject."""


class InvalidHeader(PublishError, ValueError):
    """A header cannot go on the wire, or two differ only by case."""


class BatchRefused(PublishError):
    """The stream refused an atomic batch: none of its events was stored."""


class AlreadyStored(BatchRefused):
    """The stream knows the message id of an event of an atomic batch already; none of the batch was stored."""


class PayloadTooLarge(PublishError, ValueError):
    """The event has more bytes than the server takes."""


class PublishUncertain(PublishError, TimeoutError):
    """No ack came before the deadline: the event may have been stored, or not.

    Publishing the same event again is safe inside the stream's dedupe window, as it has the same message id.
    """


class ConsumeError(BusError):
    """A consumer cannot go on."""


class ConsumerConflict(ConsumeError):
    """The durable exists with another configuration."""


class ConsumerGone(ConsumeError):
    """The durable was deleted under a running consumer."""


class NotStored(ConsumeError, TypeError):
    """A best-effort subject was asked for with a durable."""


class StreamError(BusError):
    """A stream cannot be created or changed as defined."""


class StoreError(BusError):
    """A dedupe store or an outbox cannot be used.

    A handler that ends with it has not failed: its consumer pauses, and hands the same event out again.
    """


class StoreHeld(StoreError):
    """Another process keeps the store locked, such as one that is frozen inside a transaction."""


class StoreMisused(StoreError):
    """A dedupe store or an outbox was used in a way that cannot work, such as without a transaction."""


class LeaseLost(StoreError):
    """The claim on an event ran out while its handler was at work, and somebody else took the event over."""


class Superseded(StoreError):
    """A store knows a greater term of office of this durable: another instance has taken over; nothing was written.

    Attributes:
        held: the term that the store knows.
    """

    def __init__(self, durable: str, term: int, held: int) -> None:
        super().__init__(f"{durable}: another instance has taken over with term {held}; this one has {term}")
        self.held = held


class BusClosed(BusError, ConnectionError):
    """The connection was closed."""


class BusDraining(BusClosed):
    """The connection is about to close: it delivers what is under way and takes no new subscriptions."""


LONGEST: Final = 100 * 365 * 86_400
"""Most seconds of anything on the bus: a hundred years. The server's own clock ends at three times that."""


class Signal(Exception):
    """What a handler raises to decide about its event."""


class Reject(Signal):
    """Trying again is of no use: the event becomes a dead letter now, with this reason."""


class AlreadyDone(Signal):
    """This event was handled before: acknowledge it without handling it again."""


class Retry(Signal):
    """Try again after ``delay`` seconds, whatever the policy says; counts as one delivery."""

    def __init__(self, delay: float, reason: str = "") -> None:
        if not delay <= LONGEST:  # neither is nan
            raise InvalidArgument(f"Retry in {delay!r} s: give seconds as a number, {LONGEST} (100 years) at most")
        super().__init__(reason or f"retry in {delay:g} s")
        self.delay = delay


def raise_first(outcomes: MutableSequence[Any]) -> None:
    """Raise the first error of ``outcomes``, if there is one, and empty them then.

    A frame that keeps the error that leaves it is a circle, which the garbage collector has to find: whoever raises an
    error out of a variable keeps it in a list, and has it raised here.
    """
    found = next((each for each in outcomes if isinstance(each, BaseException)), None)
    if found is not None:
        outcomes.clear()
        try:
            raise found
        finally:
            del found
