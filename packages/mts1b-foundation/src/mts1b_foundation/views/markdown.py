"""``subjects.md``: the table that people read, rendered, never edited."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from mts1b_foundation.subjects.grants import Grant
from mts1b_foundation.subjects.subject import Subject

_HEAD = """\
# Subjects

Rendered from the registry by `mts1b subjects render --write`; edit the declarations, not this file.

A verb subject of a payload that names a fund may carry the suffix `.fund.<fund_id>`, written here as
`[.fund.<fund_id>]`. `<name>` stands for a field of the payload, encoded into one token (`BRK.B` is `BRK=2EB`).
"""


def markdown(subjects: Iterable[Subject[Any]], producers: Mapping[str, str], grants: Iterable[Grant] = ()) -> str:
    """The document for ``subjects``, by producer.

    Args:
        subjects: what is shown.
        producers: by repo, the token that it owns.
        grants: what these repos have granted to others.
    """
    grants = list(grants)
    ordered = sorted(subjects, key=lambda subject: subject.producer)
    parts = [_HEAD]
    for producer, group in groupby(ordered, key=lambda subject: subject.producer):
        token = producers.get(producer)
        claim = f", owner of `{token if '.' in token else f'mts.*.{token}.>'}`" if token else ""
        handed_on = "".join(f"\nGranted to {each.to}: `{each.pattern}`.\n" for each in grants if each.by == producer)
        parts.append(f"## {producer}{claim}\n{handed_on}\n{_table(list(group))}\n")
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
