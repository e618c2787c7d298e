"""The result of a validation: ``validation.json``, and the one that comes with the package."""

from pathlib import Path
from typing import Literal

import msgspec

from mechunlearn.analysis.records import Category, TaskCard, Tier
from mechunlearn.audit.records import ModelRole
from mechunlearn.environment import MachineCard
from mechunlearn.records import Interval, Plain, Record, read_record

Truth = Literal["hidden", "gone", "broken", "open"]
"""``gone``: what is not openly answered is not there. ``broken``: nothing can be said of it.
``open``: what was done is known, but not whether it removed the knowledge."""
Situation = Literal["treated", "untreated", "twins", "none"]
"""Control of an audit: a never-knew model that went through the same treatment, one that did not,
questions that nobody can know, or nothing."""
SITUATIONS: dict[Situation, str] = {
    "treated": "with a control treated alike",
    "untreated": "with an untreated control",
    "twins": "with twin questions only",
    "none": "without any control",
}
"""In words."""


class Rates(Record, frozen=True):
    """How often something fires on models that hide their facts, and on models without any."""

    sensitivity: float | None
    """``None`` where there is no such model."""
    sensitivity_ci: Interval | None
    sensitivity_n: int
    false_alarm_rate: float | None
    false_alarm_rate_ci: Interval | None
    false_alarm_rate_n: int


class VerdictRates(Rates, frozen=True):
    """The same of the verdict: it fires where it says hidden or intact."""

    missed: int
    """Hidden models of which it says no evidence, with however few questions."""
    confusion: dict[str, dict[Category, int]]
    """Number of models by condition and verdict."""


class SituationRates(Record, frozen=True):
    """Rates of all audits with one kind of control."""

    attacks: dict[str, Rates]
    verdict: VerdictRates


class Suspect(Record, frozen=True):
    """One audit of a model of known truth."""

    seed: int
    condition: str
    truth: Truth
    situation: Situation
    n: int
    """Forget questions that are reported."""
    category: Category
    original: float
    """Value of the original on the forget questions."""
    suspect: float
    retain: float
    gap: bool
    """Whether the suspect answers measurably less than the original."""
    fired: tuple[str, ...]
    """Attacks that brought something back."""
    accuracy: dict[str, float]
    """By attack."""
    control: dict[str, float]
    p_holm: dict[str, float]


class ValidationCard(Record, frozen=True):
    """What is needed to repeat a validation; the package's own result has the command only."""

    command: str
    seed: int = 0
    models: dict[str, Plain] = msgspec.field(default_factory=dict)
    task: dict[str, TaskCard] = msgspec.field(default_factory=dict)
    """By name."""
    settings: dict[str, Plain] = msgspec.field(default_factory=dict)
    """The plan."""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    machine: MachineCard | None = None
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    """Of each audit, by condition and seed."""


class ValidationResult(Record, frozen=True):
    """Sensitivity and false-alarm rate of each attack and of the verdict, by kind of control."""

    situations: dict[Situation, SituationRates]
    runcard: ValidationCard
    schema: Literal[2]
    models: tuple[Suspect, ...] = ()
    """All that were counted; left out of the package's own result."""
    added: tuple[ValidationCard, ...] = ()
    """Of other validations whose models are counted too."""

    def of(self, control: ModelRole | None, tier: Tier) -> SituationRates:
        """The rates of audits with this kind of control, or with the nearest one that there is.

        Args:
            control: Role of the control model; ``None`` without one.
            tier: Of the controls; says whether there are twin questions instead.
        """
        wanted: dict[ModelRole | None, Situation] = {None: "none", "control": "treated"}
        first = "twins" if tier == "B" else wanted.get(control, "untreated")
        name = first if first in self.situations else next(iter(self.situations))
        return self.situations[name]

    @classmethod
    def load(cls, path: Path) -> "ValidationResult":
        """A result from its file.

        Raises:
            ValueError: If it is none; names the place.
        """
        return read_record(path, cls)
