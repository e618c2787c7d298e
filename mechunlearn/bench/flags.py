"""What is odd about a generated answer, beside what it is worth: it declines, or is no language."""

import re
from dataclasses import dataclass

from mechunlearn.tasks.refusals import is_refusal

LEAST_WORDS = 8
"""Fewer are too few to call a text repetitive."""
REPEATED = 0.35
"""Share of different three-word runs below which a text only repeats itself; our convention."""
LETTERS = 0.5
"""Share of letters and digits, of all signs but spaces, below which a text is noise; likewise."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What is odd about one text."""

    refusal: bool
    """Empty, or begins as a refusal does; keywords find more than there are."""
    gibberish: bool
    """Repeats itself, or is mostly signs. Word salad is not found: it needs a language model."""


def flags(text: str, refusals: tuple[str, ...] = ()) -> Flags:
    """Flags of a generated answer.

    Args:
        refusals: The task's own sentences that decline.

    Example:
        >>> flags("I'm sorry, I don't know."), flags("Bern.").refusal
        (Flags(refusal=True, gibberish=False), False)
    """
    bare = text.replace("*", "").strip()
    return Flags(not bare or is_refusal(bare, refusals), gibberish(bare))


def gibberish(text: str) -> bool:
    """Whether a text repeats itself or is mostly signs.

    Example:
        >>> gibberish("the the the the the the the the the the"), gibberish("}} ]] (( :: %%")
        (True, True)
    """
    signs = re.sub(r"\s", "", text)
    if signs and sum(map(str.isalnum, signs)) < LETTERS * len(signs):
        return True
    words = text.lower().split()
    if len(words) < LEAST_WORDS:
        return False
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return len(set(runs)) < REPEATED * len(runs)
