"""``subjects.md``: the table that people read, rendered, never edited."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from mts1b_foundation.subjects.subject import Subject

_HEAD = """\
# Subjects

Rendered from the registry by `mts1b subjects render --write`; edit the declarations, not this file.

A verb subject of a payload that names a fund may carry the suffix `.fund.<fund_id>`, written here as
`[.fund.<fund_id>]`. `<name>` stands for a field of the payload, encoded into one token (`BRK.B` is `BRK=2EB`).
"""


def markdown(subjects: Iterable[Subject[Any]], producers: dict[str, str]) -> str:
    """The document for ``subjects``, by producer; ``producers`` maps repos to the token that each owns."""
    ordered = sorted(subjects, key=lambda subject: subject.producer)
    parts = [_HEAD]
    for producer, group in groupby(ordered, key=lambda subject: subject.producer):
        token = producers.get(producer)
        claim = f", owner of `{token if '.' in token else f'mts.*.{token}.>'}`" if token else ""
        parts.append(f"## {producer}{claim}\n\n{_table(list(group))}\n")
    return "\n".join(parts)


def _table(subjects: Sequence[Subject[Any]]) -> str:
    rows = [
        ("Subject", "Payload", "Tier", "Message id", "What it says"),
        ("---", "---", "---", "---", "---"),
        *(
            (
                f"`{_written(subject)}`",
                f"`{subject.schema_id}`",
                subject.tier.value,
                f"`{subject.dedupe_key}`" if subject.dedupe_key else "",
                subject.description + (f" Replaces `{subject.replaces.pattern}`." if subject.replaces else ""),
            )
            for subject in subjects
        ),
    ]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _written(subject: Subject[Any]) -> str:
    pattern = subject.pattern.replace("{", "<").replace("}", ">")
    return f"{pattern}[.fund.<fund_id>]" if subject.fund_scoped else pattern
