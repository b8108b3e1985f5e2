"""A deviation of an installation from its profile."""

import re
import shlex
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from mts1b_deploy.layout import Layout, default_prefix

Severity = Literal["problem", "accepted"]
"""``accepted``: the profile says so on purpose, as ``minimal`` does of many things."""


_DEPLOY: Final = re.compile("`(mts1b-deploy [^`]+)`")
_BUS: Final = re.compile("`(mts1b [^`]+)`")


@dataclass(frozen=True, slots=True)
class Deviation:
    """What is wrong, where, and what to do.

    Attributes:
        code: a stable name, such as ``lazy-fsync``.
        what: what is wrong, on which thing, and what it costs.
        remedy: what to do; commands stand in backticks, and can be typed as they stand.
        severity: whether it is to be repaired.
    """

    code: str
    what: str
    remedy: str
    severity: Severity = "problem"

    def at(self, layout: Layout) -> Self:
        """The same with commands that act on ``layout``, also when that is not the default one."""
        if layout.prefix == default_prefix():
            return self
        remedy = _DEPLOY.sub(rf"`\1 --prefix {shlex.quote(str(layout.prefix))}`", self.remedy)
        remedy = _BUS.sub(rf"`MTS1B_CONFIG={shlex.quote(str(layout.config))} \1`", remedy)
        return replace(self, remedy=remedy)
