"""Errors as the browser is told of them. Pure."""

from mts1b_foundation.errors import Mts1bError
from mts1b_operations.export.run import ExportError
from mts1b_operations.history.moments import MomentError
from mts1b_operations.people.asked import Declined
from mts1b_operations.people.asking import Unanswered
from mts1b_platform.eventbus import AccessDenied, JetStreamUnavailable, NoStream
from mts1b_platform.eventbus.errors import BusClosed, RequestTimeout, ServerUnavailable

from mts1b_console.shapes.base import Problem


class Refused(Mts1bError):
    """The console does not do what it was asked for.

    Attributes:
        status: of the HTTP answer.
        problem: what the browser is told.
    """

    def __init__(self, status: int, code: str, message: str, what_to_do: str = "") -> None:
        super().__init__(f"{message}: {what_to_do}" if what_to_do else message)
        self.status = status
        self.problem = Problem(code=code, message=message, what_to_do=what_to_do)


def problem_of(error: Exception) -> Problem:
    """``error`` in words."""
    match error:
        case Refused():
            return error.problem
        case Declined():
            return Problem(code=error.code, message=error.message, what_to_do=error.what_to_do)
        case Unanswered():
            return Problem(code="unanswered", message=str(error))
        case AccessDenied():
            return Problem(code="access-denied", message=str(error))
        case NoStream():
            return Problem(code="no-stream", message=str(error))
        case ServerUnavailable() | RequestTimeout() | JetStreamUnavailable() | BusClosed():
            return Problem(code="bus-away", message=str(error), what_to_do="the console goes on trying")
        case MomentError() | ExportError():
            return Problem(code="bad-request", message=str(error))
        case TimeoutError():
            return Problem(code="too-slow", message="it took too long and was given up", what_to_do="ask for less")
        case Mts1bError():
            return Problem(code="failed", message=str(error))
        case _:
            return Problem(
                code="failed", message="the console failed; its log says why", what_to_do="tell whoever runs it"
            )


def status_of(problem: Problem) -> int:
    """The status of an HTTP answer that is nothing but ``problem``."""
    return _STATUS.get(problem.code, 409)


_STATUS = {
    "access-denied": 403,
    "not-found": 404,
    "unknown": 404,
    "no-stream": 404,
    "bad-request": 400,
    "bus-away": 503,
    "unanswered": 503,
    "busy": 429,
    "too-often": 429,
    "too-slow": 504,
    "failed": 500,
}
