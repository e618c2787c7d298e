"""What stands in the ``runcard.json`` beside an unlearned model."""

from dataclasses import dataclass

from mechunlearn.environment import MachineCard
from mechunlearn.errors import unknown
from mechunlearn.models.cards import ModelCard
from mechunlearn.models.placement import DTYPES, FLOATS, QUANTISED
from mechunlearn.records import Interval, Plain, Record


@dataclass(frozen=True, slots=True)
class UnlearnPlan:
    """One model, one method, one task; equal plans give equal weights on one machine.

    Raises:
        ValueError: For an unknown number format, or one of quantised weights.
    """

    method: str
    model: str = "organism:original"
    task: str = ""
    """Empty: the task that suits the model."""
    preset: str = ""
    """Empty: the one that suits the model's size."""
    changes: tuple[str, ...] = ()
    """``key=value`` settings on top of the preset; ``task.key=value`` settings of the task."""
    dtype: str = "auto"
    """What the model is loaded, computed and saved in; AdamW steps in float32 in any case."""

    trust_remote_code: bool = False
    """Whether code that comes with the model, or its tokenizer, may run."""

    def __post_init__(self) -> None:
        if self.dtype in QUANTISED:
            raise ValueError(
                f"--dtype {self.dtype}: weights that are trained and saved cannot be quantised; "
                f"use one of: auto, {', '.join(FLOATS)}"
            )
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, ("auto", *FLOATS))

    @property
    def settings(self) -> list[str]:
        """The changes that are the method's."""
        return [c for c in self.changes if not c.startswith("task.")]

    def command(self, out: str) -> str:
        """The command line that carries it out."""
        words = ["mechunlearn unlearn", self.method, "--model", self.model, "--out", out]
        dtype = "" if self.dtype == "auto" else self.dtype
        for option, value in (
            ("--task", self.task),
            ("--preset", self.preset),
            ("--dtype", dtype),
        ):
            words += [option, value] if value else []
        words += ["--trust-remote-code"] if self.trust_remote_code else []
        return " ".join([*words, *(x for change in self.changes for x in ("--set", change))])


class TaskCard(Record, frozen=True):
    """The task that was unlearned."""

    name: str
    scoring: str
    chance: float
    template: tuple[str, ...] = ()
    """What was done to use the chat template: a stopped clock, a folded system message."""


class Effect(Record, frozen=True):
    """Accuracy on one question set, both folds."""

    before: float
    after: float
    after_ci: Interval
    n: int


class RefusalRate(Record, frozen=True):
    """Share of a set's questions whose greedy answer declines to say, after unlearning."""

    rate: float
    rate_ci: Interval
    n: int


class TextCost(Record, frozen=True):
    """Perplexity on text after unlearning."""

    value: float | None
    """``None`` where it is infinite."""
    n_tokens: int


class TrainingMachine(MachineCard, frozen=True):
    """Where it was trained."""

    peak_memory: int
    """Bytes."""


class UnlearnCard(Record, frozen=True):
    """What was done, what is needed to repeat it, and what it did."""

    command: str
    seed: int
    models: dict[str, ModelCard]
    """``original``: the model that was unlearned."""
    task: TaskCard
    settings: dict[str, Plain]
    """Of the method."""
    versions: dict[str, str]
    machine: TrainingMachine
    seconds: dict[str, float]
    accuracy: dict[str, Effect]
    """By question set."""
    refusals: dict[str, RefusalRate]
    perplexity: dict[str, TextCost]
    """Of ``retain_text``, where the task has some."""
    plan: UnlearnPlan
    method: str
    warnings: list[str]
    terms: dict[str, list[float]]
    """Loss terms per step."""
    measured: list[dict[str, int | float]]
    """Accuracies on the way, each with its ``step``."""
