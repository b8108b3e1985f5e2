"""The errors of the foundation, and the root of every error that MTS1B raises on purpose.

::

    Mts1bError
    ├── SubjectError        a subject used in a way that its registration does not allow
    │   ├── InvalidToken        a parameter value that cannot become a subject token
    │   ├── UnknownSubject      nothing registered under this name or pattern
    │   ├── UnknownParameter    a parameter that the subject does not have, or one that is missing
    │   └── InvalidSubject      a declaration that breaks the grammar
    ├── ContributionError   a package that should contribute subjects cannot be loaded
    ├── SchemaMismatch      an event of a schema that its reader cannot read
    └── IllegalTransition   an order asked to do what its state does not allow

The bus adds its own branch in ``mts1b_platform.eventbus.errors``.
"""

from typing import cast


class Mts1bError(Exception):
    """Root of every error that MTS1B raises on purpose."""


class SubjectError(Mts1bError, ValueError):
    """A subject is used in a way that its registration does not allow."""


class InvalidToken(SubjectError):
    """A parameter value cannot become a subject token."""


class UnknownSubject(SubjectError):
    """Nothing is registered under this name or pattern."""


class UnknownParameter(SubjectError):
    """A parameter is missing, or is none that the subject has."""


class InvalidSubject(SubjectError):
    """A subject declaration breaks the grammar."""


class ContributionError(Mts1bError):
    """A package or checkout declares subjects, streams or consumers that cannot be loaded."""


class SchemaMismatch(Mts1bError, ValueError):
    """An event carries a schema that its reader neither knows nor can bring to its own version."""


class IllegalTransition(Mts1bError, ValueError):
    """An order was asked to do what its state does not allow."""


def words_of(error: BaseException | str) -> str:
    """What an error says: of an exception group what each of its exceptions says; never raises."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return f"{_words(group)}: {'; '.join(f'{type(each).__name__}: {words_of(each)}' for each in group.exceptions)}"
    return error if isinstance(error, str) else _words(error)


def _words(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - an error that cannot be printed is still one
        return f"{type(error).__name__} (it cannot be printed)"
