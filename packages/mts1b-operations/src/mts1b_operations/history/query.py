"""The query language: what people type to say which events they mean. Pure.

::

    query     = all ("or" all)*
    all       = item+                              side by side means and
    item      = "-"* (comparison | text | "(" query ")")
    comparison = field ":" value                   equal; for subject a NATS pattern, * in others for any text
               | field ":" value ".." value        between, both included
               | field (">" | ">=" | "<" | "<=") value
    text      = word | '"' anything '"'            somewhere in subject, headers or payload, whatever its case

    order:desk-1.2.alpha  -subject:mts.v1.marketdata.>  (price>100 or price:1..2)  "insufficient margin"

``str()`` of what was parsed is a query that parses to the same. :func:`parse` takes every text: what it cannot
understand it names, with its place, and goes on. Nothing is evaluated as code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Operator = Literal[":", ">", ">=", "<", "<="]

_DEEPEST: Final = 50
"""Parentheses within each other."""
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<open>\()
      | (?P<close>\))
      | (?P<minus>-)
      | (?P<field>[A-Za-z_][\w.\-]*)(?P<operator>:|>=|<=|>|<)
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<broken>"(?:[^"\\]|\\.)*\\?\Z)
      | (?P<word>[^\s()"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_VALUE: Final = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<broken>"(?:[^"\\]|\\.)*\\?\Z)|(?P<bare>[^\s()"]+)', re.DOTALL
)
_BARE_VALUE: Final = re.compile(r'[^\s()"]+')
_BARE_WORD: Final = re.compile(r'(?!-)(?![A-Za-z_][\w.\-]*(?::|>=|<=|>|<))[^\s()"]+')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_RANGE: Final = ".."


@dataclass(frozen=True, slots=True)
class Text:
    """Text that occurs somewhere in the event."""

    text: str

    def __str__(self) -> str:
        bare = _BARE_WORD.fullmatch(self.text) is not None and self.text != "or"
        return self.text if bare else _quoted(self.text)


@dataclass(frozen=True, slots=True)
class Compare:
    """A field compared with a value."""

    field: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        plain = (
            _BARE_VALUE.fullmatch(self.value) is not None
            and not (self.operator == ":" and _RANGE in self.value)
            and not (self.operator in "<>" and self.value.startswith("="))
        )
        return f"{self.field}{self.operator}{self.value if plain else _quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Between:
    """A field between two values, both included."""

    field: str
    low: str
    high: str

    def __str__(self) -> str:
        return f"{self.field}:{self.low}{_RANGE}{self.high}"


@dataclass(frozen=True, slots=True)
class Not:
    """What is not meant."""

    inner: "Query"

    def __str__(self) -> str:
        return f"-{_grouped(self.inner)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of several; without any: every event."""

    parts: tuple["Query", ...] = ()

    def __str__(self) -> str:
        return " ".join(_grouped(part) if isinstance(part, (And, Or)) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of several."""

    parts: tuple["Query", ...]

    def __str__(self) -> str:
        return " or ".join(_grouped(part) if isinstance(part, Or) else str(part) for part in self.parts)


Query = Text | Compare | Between | Not | And | Or

EVERYTHING: Final = And()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a query that could not be understood."""

    at: int
    """Where, counted in characters from 0."""
    words: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was understood of a text."""

    query: Query
    problems: tuple[Problem, ...]


def parse(text: str) -> Parsed:
    """Read a query. Every text gives one; what could not be understood stands in ``problems``."""
    return _Parser(text).parse()


def _grouped(query: Query) -> str:
    return f"({query})" if isinstance(query, (And, Or)) else str(query)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._problems: list[Problem] = []

    def parse(self) -> Parsed:
        parts: list[Query] = []
        while True:
            parts.append(self._or(0))
            if self._at >= len(self._text):
                break
            self._problem(self._at, "this ) closes nothing")
            self._at += 1
        query = _and([part for part in parts if part != EVERYTHING])
        return Parsed(query, tuple(sorted(self._problems, key=lambda each: each.at)))

    def _or(self, depth: int) -> Query:
        """Alternatives, up to the end or to a closing parenthesis, which stays."""
        alternatives: list[list[Query]] = [[]]
        while True:
            self._blanks()
            start = self._at
            if start >= len(self._text) or self._text[start] == ")":
                break
            item = self._item(depth)
            if item is None:  # the word or
                alternatives.append([])
                if not alternatives[-2]:
                    self._problem(start, "there is nothing before this or")
            else:
                alternatives[-1].append(item)
        if len(alternatives) > 1 and not alternatives[-1]:
            self._problem(self._at, "there is nothing behind the last or")
        found = [_and(items) for items in alternatives if items]
        if not found:
            return EVERYTHING
        return found[0] if len(found) == 1 else Or(_flat_or(found))

    def _item(self, depth: int) -> Query | None:
        """One item; None for the word or."""
        negated = False
        while True:
            self._blanks()
            match = _TOKEN.match(self._text, self._at)
            if match is None or match.lastgroup == "close":
                self._problem(self._at, "there is nothing behind this -")
                return Text("-")
            if match["minus"] is None:
                break
            if negated:
                self._problem(match.start("minus"), "one - is enough; two cancel each other")
            negated = not negated
            self._at = match.end()
            if self._at < len(self._text) and self._text[self._at].isspace():
                self._problem(self._at - 1, "this - stands alone: write it before what is not meant, without a blank")
        start, self._at = match.start(match.lastgroup or 0), match.end()
        inner: Query | None
        if match["open"]:
            inner = self._group(start, depth)
        elif match["field"]:
            inner = self._comparison(match["field"], match["operator"], match.start("field"))
        elif match["quoted"] is not None:
            inner = Text(_unquoted(match["quoted"][1:-1]))
        elif match["broken"] is not None:
            inner = self._broken(start)
        elif match["word"] == "or" and not negated:
            return None
        else:
            inner = Text(match["word"])
        return _not(inner) if negated else inner

    def _group(self, start: int, depth: int) -> Query:
        if depth >= _DEEPEST:
            self._problem(start, f"more than {_DEEPEST} parentheses within each other")
            return EVERYTHING
        inner = self._or(depth + 1)
        if self._at < len(self._text):
            self._at += 1
        else:
            self._problem(start, "this ( is not closed")
        if inner == EVERYTHING:
            self._problem(start, "there is nothing in these parentheses")
        return inner

    def _comparison(self, field: str, operator: str, start: int) -> Query:
        match = _VALUE.match(self._text, self._at)
        if match is None:
            self._problem(start, f'{field}{operator} has no value; for an empty one write {field}{operator}""')
            return Compare(field, _operator(operator), "")
        self._at = match.end()
        if match["quoted"] is not None:
            return Compare(field, _operator(operator), _unquoted(match["quoted"][1:-1]))
        if match["broken"] is not None:
            return Compare(field, _operator(operator), self._broken(match.start()).text)
        value = match["bare"]
        low, dots, high = value.partition(_RANGE)
        if operator == ":" and dots and low and high and not high.startswith(".") and _RANGE not in high:
            return Between(field, low, high)
        return Compare(field, _operator(operator), value)

    def _broken(self, start: int) -> Text:
        self._problem(start, "this quotation is not closed")
        rest = self._text[start + 1 : self._at]
        return Text(_unquoted(rest))

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _problem(self, at: int, words: str) -> None:
        self._problems.append(Problem(at, words))


def _operator(text: str) -> Operator:
    return text  # pyright: ignore[reportReturnType] - one of the five that the pattern of tokens knows


def _not(query: Query) -> Query:
    return query.inner if isinstance(query, Not) else Not(query)


def _and(items: Sequence[Query]) -> Query:
    flat: list[Query] = []
    for item in items:
        flat += item.parts if isinstance(item, And) else (item,)
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def _flat_or(items: Sequence[Query]) -> tuple[Query, ...]:
    flat: list[Query] = []
    for item in items:
        flat += item.parts if isinstance(item, Or) else (item,)
    return tuple(flat)
