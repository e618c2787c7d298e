"""Whether an attack brought knowledge back, and what kind of hiding that shows."""

from collections.abc import Sequence

from mechunlearn.analysis.records import Category, Row
from mechunlearn.attacks import Family
from mechunlearn.attacks.grades import TAUGHT, shows

LEVEL = 0.05
KINDS: dict[Family, Category] = {
    "read-out": "hidden at the output",
    "sparse": "hidden, sparse",
    "relearn": "hidden, deep",
}
"""By the family of the attack; all others are shallow."""


def taught(row: Row) -> bool:
    """Whether the attack was taught forget facts."""
    return row.evidence in TAUGHT


def counts(row: Row) -> bool:
    """Whether what the attack answers can show that the model knows it."""
    return shows(row.evidence, row.tier)


def won(row: Row) -> bool:
    """Whether the attacked model answers more than everything it is compared with."""
    lows = [c.difference_ci[0] for c in row.contrasts] or [row.difference_ci[0]]
    return row.p_adjusted < LEVEL and row.difference_ci[0] > 0 and min(lows) > 0


def significant(row: Row) -> bool:
    """Whether an attack brought knowledge back (``won``, and it counts)."""
    return won(row) and counts(row)


def deciding(rows: Sequence[Row]) -> Row | None:
    """Of one model's attacks that brought hidden knowledge back, the one that names the kind."""
    found = hits(rows)
    return next((r for r in found if kind(r.family) != "hidden, deep"), found[0] if found else None)


def hits(rows: Sequence[Row]) -> list[Row]:
    """Attacks that brought back what was not open, the most first."""
    return sorted(
        (r for r in rows if significant(r) and not r.only_asks), key=lambda r: -r.difference
    )


def able(rows: Sequence[Row]) -> list[Row]:
    """Of one model's attacks those that could show hidden knowledge, whether they did or not.

    Left out are attacks that ask in another form only, and those whose answers do not count.
    """
    return [r for r in rows if counts(r) and not r.only_asks]


def kind(family: Family) -> Category:
    """What it means for the knowledge that an attack of this family brings it back."""
    return KINDS.get(family, "hidden, shallow")
