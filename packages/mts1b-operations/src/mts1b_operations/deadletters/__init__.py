"""Dead letters: moved for consumers without this library, listed, grouped, requeued, discarded, restored."""

from mts1b_operations.deadletters.advisories import Advisory
from mts1b_operations.deadletters.discard import discard, restore
from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.letters import Group, Letter, Selection, grouped, letters
from mts1b_operations.deadletters.mover import Mover
from mts1b_operations.deadletters.requeue import Target, requeue
from mts1b_operations.deadletters.steps import Outcome
from mts1b_operations.declared import ADVISORIES

__all__ = [
    "ADVISORIES",
    "Advisory",
    "DeadLetterError",
    "Group",
    "Letter",
    "Mover",
    "Outcome",
    "Selection",
    "Target",
    "discard",
    "grouped",
    "letters",
    "requeue",
    "restore",
]
