"""What a model says to open questions about the facts that a task measures otherwise.

Somebody may know which of four is likeliest and not be able to say it, so a task can bring the same
facts as open questions. They are answered greedily; a text that holds the fact is right.
"""

from msgspec import UNSET, UnsetType

from mechunlearn.audit.records import Answers
from mechunlearn.bench import score
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Task


def in_words(model: HookedModel, task: Task, change: Change = NO_CHANGE) -> Answers | UnsetType:
    """Answers to ``task.in_words``; ``UNSET`` where there are none, or the change makes no text."""
    if not task.in_words or change.form is not None or change.read_out is not None:
        return UNSET
    said = score(model, task.in_words, task.prompt, scoring="containment", change=change)
    return Answers.of(said)
