"""Several audits side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mechunlearn.analysis.compare import alike, differences
from mechunlearn.analysis.records import Model, Row
from mechunlearn.analysis.report import Report
from mechunlearn.records import Plain
from mechunlearn.report.headline import Headline, headlines

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Attacked:
    """An unlearned model under attack, in the runs that attacked it."""

    label: str
    runs: tuple[str, ...]
    rows: Mapping[str, tuple[Row | None, ...]]
    """By attack, one entry a run; ``None`` where it was not run."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What several runs say about the same models and attacks, and in what the runs differ."""

    runs: tuple[str, ...]
    """Names."""
    commands: tuple[str, ...]
    verdicts: Mapping[str, tuple[Headline | None, ...]]
    """By unlearned model, one entry a run; ``None`` where a run does not have it."""
    attacked: tuple[Attacked, ...]
    baselines: Mapping[str, tuple[Model | None, ...]]
    """By model, one entry a run. The original and the never-knew model go by their roles: runs may
    call them differently. Where a run has several never-knew models their labels stand behind."""
    differs: Mapping[str, Sequence[Plain]]
    """By condition, one entry a run."""

    @classmethod
    def of(cls, runs: Mapping[str, Report]) -> "Comparison":
        """Compare reports by the name of their run.

        Raises:
            ValueError: If there are fewer than two runs.
        """
        if len(runs) < 2:
            raise ValueError(f"a comparison needs two runs or more, not {list(runs)}")
        reports = tuple(runs.values())
        heads = [{h.label: h for h in headlines(report)} for report in reports]
        models = alike(reports)
        return cls(
            runs=tuple(runs),
            commands=tuple(report.runcard.command for report in reports),
            verdicts={m: tuple(h.get(m) for h in heads) for m in _union(heads)},
            attacked=tuple(
                _attacked(label, runs)
                for label in _union([row.model for row in report.rows] for report in reports)
            ),
            baselines={_title(*key): tuple(m.get(key) for m in models) for key in _union(models)},
            differs=differences(reports),
        )


def _title(role: str, label: str) -> str:
    """What a table calls a model."""
    return " ".join(filter(None, (f"{role} model" if role else "", label)))


def _attacked(label: str, runs: Mapping[str, Report]) -> Attacked:
    rows = {run: {r.attack: r for r in report.rows_of(label)} for run, report in runs.items()}
    rows = {run: by_attack for run, by_attack in rows.items() if by_attack}
    return Attacked(
        label,
        tuple(rows),
        {attack: _across(attack, list(rows.values())) for attack in _union(rows.values())},
    )


def _across(attack: str, rows: Sequence[Mapping[str, Row]]) -> tuple[Row | None, ...]:
    return tuple(by_attack.get(attack) for by_attack in rows)


def _union(groups: Iterable[Iterable[Key]]) -> list[Key]:
    """Everything in them once, in the order of first appearance."""
    return list(dict.fromkeys(key for group in groups for key in group))
