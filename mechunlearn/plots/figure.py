"""What a kind of figure is; each declares itself in its own file.

    FIGURE = Figure(kind="recovery", explains="Every attack beside its controls.", draw=recovery)

A line in the registry makes it known. A figure reads the report alone: whether it can be drawn is
decided by what attacks left and by their family, never by their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import plotly.graph_objects as go

from mechunlearn.analysis.records import Arm, Measured, Row
from mechunlearn.analysis.report import Report
from mechunlearn.attacks import Trace

Place: TypeAlias = Mapping[str, int]
"""``row`` and ``col`` of a panel, counted from 1."""
Rows: TypeAlias = Callable[[Report, str], tuple[Row, ...]]
"""Some of the attacks on the unlearned model of a label."""
TAUGHT: tuple[Arm, ...] = ("unlearned", "never_knew")
"""Models that an attack works on, in the order in which they are drawn."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One figure of a report."""

    key: str
    """``KIND``, or ``KIND-MODEL`` for figures of one model: its file's name."""
    kind: str
    model: str
    """Label of the unlearned model; empty for figures of the whole report."""
    attacks: frozenset[str]
    """Attacks whose section shows it."""
    overview: bool
    """Whether it stands above the attacks."""
    explains: str
    figure: go.Figure


def _of_no_attack(report: Report, model: str) -> tuple[Row, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A kind of figure."""

    kind: str
    """Part of its file's name; no ``-`` in it."""
    explains: str
    """What it shows, a sentence for the page."""
    draw: Callable[..., go.Figure]
    """From a report, and from a model's label where it is one per model."""
    per_model: bool = True
    overview: bool = False
    """Whether a page shows it above the attacks."""
    about: Rows = _of_no_attack
    """The attacks that it shows more of than their numbers; pages place it in their sections."""
    needs: Callable[[Report, str], bool] | None = None
    """Whether a report has what it draws; ``None``: where there is an attack that it is about."""

    def attacks(self, report: Report, model: str) -> frozenset[str]:
        """Names of the attacks whose section shows it."""
        return frozenset(row.attack for row in self.about(report, model))

    def allowed(self, report: Report, model: str = "") -> bool:
        """Whether the report has what it draws.

        Args:
            model: Label of an unlearned model, for figures of one.
        """
        if self.needs is None:
            return bool(self.about(report, model))
        return self.needs(report, model)

    def of(self, report: Report, model: str = "") -> Drawn:
        """The figure, drawn."""
        return Drawn(
            key=f"{self.kind}-{model}" if self.per_model else self.kind,
            kind=self.kind,
            model=model,
            attacks=self.attacks(report, model),
            overview=self.overview,
            explains=self.explains,
            figure=self.draw(report, model) if self.per_model else self.draw(report),
        )


def always(report: Report, model: str) -> bool:
    """For ``needs``: any attack will do."""
    return True


def attacked(report: Report) -> tuple[str, ...]:
    """Labels of the models with rows, in the rows' order."""
    return tuple(dict.fromkeys(row.model for row in report.rows))


def traced(kind: type[Trace], *arms: Arm) -> Rows:
    """For ``about``: attacks that left a trace of a kind, of each of these arms.

    Args:
        arms: Default: of the unlearned model.
    """

    def rows(report: Report, model: str) -> tuple[Row, ...]:
        traces = report.findings_of(model).traces
        return tuple(
            row
            for row in report.rows_of(model)
            if all(
                kind.kind in traces.get(row.attack, {}).get(arm, {}) for arm in arms or TAUGHT[:1]
            )
        )

    return rows


def forget(report: Report, label: str) -> Measured:
    """A model's answers to the forget questions of the confirm fold, without any attack."""
    return report.model(label).sets["forget"]


def original(report: Report) -> Measured:
    """The original's answers to them."""
    return forget(report, report.original.label)


def control(report: Report, label: str) -> Measured | None:
    """The answers of what an unlearned model is compared with; ``None``: there is no such model."""
    model = report.control_of(label)
    return None if model is None else forget(report, model.label)
