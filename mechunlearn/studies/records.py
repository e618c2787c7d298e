"""The result of a validation: ``validation.json``, and the one that comes with the package."""

from pathlib import Path
from typing import Literal

import msgspec

from mechunlearn.analysis.records import Category, TaskCard
from mechunlearn.environment import MachineCard
from mechunlearn.records import Interval, Plain, Record, read_record

Truth = Literal["hidden", "gone", "open"]
"""``open``: what was done is known, but not whether it removed the knowledge."""


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

    confusion: dict[str, dict[Category, int]]
    """Number of models by condition and verdict."""


class Suspect(Record, frozen=True):
    """One audited model of known truth."""

    seed: int
    condition: str
    truth: Truth
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
    """Sensitivity and false-alarm rate of each attack and of the verdict."""

    attacks: dict[str, Rates]
    verdict: VerdictRates
    runcard: ValidationCard
    schema: Literal[1]
    models: tuple[Suspect, ...] = ()
    """All that were counted; left out of the package's own result."""
    added: tuple[ValidationCard, ...] = ()
    """Of other validations whose models are counted too."""

    @classmethod
    def load(cls, path: Path) -> "ValidationResult":
        """A result from its file.

        Raises:
            ValueError: If it is none; names the place.
        """
        return read_record(path, cls)
