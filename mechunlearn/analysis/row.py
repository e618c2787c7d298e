"""One attack on one unlearned model, as the report has it; part of the report's records."""

from typing import Literal

from mechunlearn.attacks import Family
from mechunlearn.records import Interval, Plain, Record

Tier = Literal["A", "B", "C"]
"""What recovery is net of. A: a model that never knew; B: fictitious twin questions; C: shams and
hidden questions only."""
Against = Literal["control", "twins", "unlearned", "sham", "guessing", "spread"]
"""What an attack has to exceed; ``control`` is the difference in differences, ``spread`` the same
beside how much never-knew models differ, ``twins`` what the attack gains on questions that nobody
can know."""


class Contrast(Record, frozen=True):
    """One comparison that an attack has to win."""

    against: Against
    level: float
    """What the attacked model's value has to exceed."""
    difference: float
    difference_ci: Interval
    p: float
    """One-sided, by flipping the signs of whole sources."""
    p_adjusted: float
    """Adjusted for all contrasts of all attacks on the model."""


class Seeds(Record, frozen=True):
    """One attack with several seeds, the reported one among them: lowest and highest."""

    n: int
    """Seeds."""
    found: int
    """Seeds with which the attack brought back more than everything it is compared with."""
    value_range: Interval
    difference_range: Interval
    recovery_range: Interval | None


class TriedVariant(Record, frozen=True):
    """A variant that the select fold did or did not choose."""

    variant: Plain
    forget: float
    """On the forget questions that decide."""
    retain: float | None = None
    forget_ci: Interval | None = None
    """``None`` in reports before version 0.5."""


class Row(Record, frozen=True):
    """One attack on one unlearned model, at the variant that the select fold chose."""

    model: str
    attack: str
    family: Family
    variant: Plain
    n: int
    value: float
    value_ci: Interval
    recovery: float | None
    """Share of the gap that comes back, net of the control; ``None`` where there is no gap."""
    recovery_ci: Interval | None
    difference: float
    """[attacked - unlearned] - [attacked control - control], or attacked - control where unlearning
    went below it; without a never-knew model the smallest of the contrasts."""
    difference_ci: Interval
    gap: float
    """Original minus unlearned."""
    gap_ci: Interval
    p: float
    """The largest of the contrasts'."""
    p_adjusted: float
    """The same, adjusted for all attacks on the model."""
    detectable: float
    """Smallest mean gain that this audit finds with 80 % power; 1 where it finds none."""
    tier: Tier
    sham: float
    control: float | None
    """The never-knew model under the same attack; ``None`` where there is none."""
    original: float
    """The original under the same attack."""
    retain: float
    within_limit: bool
    flops: int
    seconds: float
    """The arithmetic at a fixed speed, so that it is the same in every run."""
    evidence: str = ""
    """What the attacker had to know."""
    n_variants: int | None = None
    p_best_of_k: float | None = None
    """Whether the chosen variant gained more than the best of as many would by luck."""
    only_asks: bool = False
    """Nothing but the form of the questions changed: what came back was open, not hidden."""
    renaming: tuple[int, ...] | None = None
    """The letters under which the answers count, where the select fold suggests others than they
    were asked with."""
    contrasts: tuple[Contrast, ...] = ()
    """Everything that has to be exceeded; reports before them compared with one arm."""
    n_controls: int = 1
    """Never-knew models that ``control`` is the mean of; 0 where there is none."""
    seeds: "Seeds | None" = None
    """The same attack with other seeds, where it was repeated."""
    sham_ci: Interval | None = None
    """``None`` in reports before version 0.5, like the next three."""
    control_ci: Interval | None = None
    """Of the mean of several never-knew models, if there are several; it resamples questions."""
    original_ci: Interval | None = None
    retain_ci: Interval | None = None

    @property
    def compared(self) -> float:
        """The attacked control; without one the highest level that has to be exceeded."""
        if self.control is not None:
            return self.control
        return max((c.level for c in self.contrasts), default=self.sham)
