"""What is measured: scores of a model, a recovery, and the report of an audit."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mechunlearn.display import table


@dataclass(frozen=True, eq=False)
class Score:
    """What a model answered to a set of questions, under one intervention and one read-out."""

    name: str
    logits: Float[np.ndarray, "question choice"]
    """Letter logits, or mean log-probability per token of each ending; -inf where there is none."""
    answers: Int[np.ndarray, " question"]

    @cached_property
    def predictions(self) -> Int[np.ndarray, " question"]:
        """Index of the best choice; -1 where choices tie exactly (a tie is not an answer)."""
        best = self.logits.max(axis=1, keepdims=True)
        tied = (self.logits == best).sum(axis=1) > 1
        return np.where(tied | ~np.isfinite(best[:, 0]), -1, self.logits.argmax(axis=1))

    @cached_property
    def correct(self) -> Bool[np.ndarray, " question"]:
        """Whether each prediction is right; exact ties are wrong."""
        return self.predictions == self.answers

    @property
    def n(self) -> int:
        """Number of questions."""
        return len(self.answers)

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        from mechunlearn.stats import wilson

        return wilson(int(self.correct.sum()), self.n)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Score({self.name}: {self.accuracy:.3f} [{low:.3f}, {high:.3f}], n={self.n})"

    def _repr_html_(self) -> str:
        low, high = self.interval
        found = {"accuracy": f"{self.accuracy:.1%} [{low:.1%}, {high:.1%}]", "n": self.n}
        return table({"intervention": self.name, **found})


@dataclass(frozen=True, slots=True)
class Recovery:
    """How much of the forgotten knowledge an attack brought back, net of its control."""

    difference: float
    """[attacked - unlearned] - [attacked control - control], in accuracy."""
    difference_ci: tuple[float, float]
    ratio: float | None
    """``difference`` as a share of the gap; ``None`` where the gap's interval covers 0."""
    ratio_ci: tuple[float, float] | None
    gap: float
    """Original minus unlearned accuracy."""
    gap_ci: tuple[float, float]
    p_value: float
    """McNemar's exact p of the attacked model against the attacked control."""
    detectable: float
    """Smallest difference that a test of this size finds with 80 % power."""


@dataclass(frozen=True, slots=True)
class RunCard:
    """What is needed to repeat a run."""

    command: str
    seed: int
    models: dict[str, Any]
    task: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    seconds: dict[str, float]
    """Measured wall-clock seconds of each part on that machine."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything an audit found; a pure function of it draws the figures and the page."""

    runcard: dict[str, Any]
    baselines: dict[str, dict[str, dict[str, Any]]]
    """Model -> set -> accuracy, accuracy_ci, n."""
    rows: list[dict[str, Any]]
    """One per unlearned model and attack, at the settings the select fold chose."""
    details: dict[str, Any]
    """Per unlearned model: lens curves, projections, all settings tried."""
    schema: int = 1
    questions: dict[str, Any] = field(default_factory=dict)
    """Every question and all answers to it (``mechunlearn.analysis.answers``); empty: not kept."""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, as written to ``report.json``."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Report":
        """The inverse of ``to_dict``.

        Raises:
            ValueError: If the data is no report of this schema version.
        """
        if data.get("schema") != 1 or not {"runcard", "baselines", "rows"} <= set(data):
            raise ValueError(
                f"this is no mechunlearn report of schema 1 (schema: {data.get('schema')!r}); "
                "make it again with: mechunlearn audit"
            )
        return cls(**{f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data})

    def _repr_html_(self) -> str:
        """Verdicts and a table, for notebooks."""
        from mechunlearn.report.embed import embedded

        return embedded(self)
