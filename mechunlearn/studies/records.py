"""What studies write to disk: the result of a validation on models of known truth."""

from typing import Literal

from mechunlearn.records import Interval, Plain, Record


class Rates(Record):
    """How often something fires on models that hide their facts, and on those that have none."""

    sensitivity: float | None
    """``None`` where no model hides anything."""
    sensitivity_ci: Interval | None
    sensitivity_n: int
    false_alarm_rate: float | None
    false_alarm_rate_ci: Interval | None
    false_alarm_rate_n: int


class VerdictRates(Rates):
    """The same of verdicts."""

    confusion: dict[str, dict[str, int]]
    """Condition of the models -> category -> number of models."""


class ValidationCard(Record):
    """What is needed to repeat a validation."""

    command: str
    seed: int | None = None
    """This and the rest: ``None`` in the summary that comes with the package."""
    models: dict[str, Plain] | None = None
    task: dict[str, Plain] | None = None
    settings: dict[str, Plain] | None = None
    versions: dict[str, str] | None = None
    machine: dict[str, Plain] | None = None
    seconds: dict[str, float] | None = None


class Validation(Record):
    """``validation.json``."""

    attacks: dict[str, Rates]
    verdict: VerdictRates
    runcard: ValidationCard
    added: tuple[ValidationCard, ...] = ()
    """Of validations whose models are counted too."""
    models: tuple[Plain, ...] = ()
    """Every model that was judged."""
    schema: Literal[1] = 1
