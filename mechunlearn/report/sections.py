"""What the page says about each attack: what it did, with which settings, at what price."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from mechunlearn.analysis.records import Row, Spent, TriedVariant
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import name
from mechunlearn.attacks import Attack
from mechunlearn.attacks.grades import grade
from mechunlearn.attacks.vocabulary import NEEDS, Access
from mechunlearn.registry import find, names
from mechunlearn.report.figures import PageFigure
from mechunlearn.studies.records import Rates

MEASURED = {"attack": "search, confirm fold and shams", "control": "control", "ceiling": "original"}
"""Kinds of cells by what they did."""


@dataclass(frozen=True, slots=True)
class About:
    """What an attack declares of itself."""

    idea: str
    papers: tuple[str, ...]
    access: tuple[str, ...]
    needs: tuple[str, ...]
    grade: str


@dataclass(frozen=True, slots=True)
class Section:
    """One attack on one unlearned model."""

    row: Row
    about: About | None
    """``None`` where the attack is not registered here."""
    spent: Spent | None
    seconds: Mapping[str, float]
    """Measured, by what was done."""
    tried: tuple[TriedVariant, ...]
    figures: tuple[PageFigure, ...]
    rates: Rates | None
    """``None`` where it was not validated."""

    @property
    def title(self) -> str:
        """The attack's name."""
        return name(self.row.attack)

    @property
    def key(self) -> str:
        """Anchor on the page."""
        return f"{self.row.model}--{self.row.attack}"

    @property
    def n_variants(self) -> int:
        """How many the select fold chose from."""
        return self.row.n_variants or len(self.tried)

    @property
    def grade(self) -> str:
        """What the attacker had to know."""
        return self.row.evidence or (self.about.grade if self.about else "")


def about(attack: str) -> About | None:
    """An attack's idea and paper from its file, the rest from its class.

    ``None`` for one of another version of the package, or of somebody's notebook.
    """
    if attack not in names("attack"):
        return None
    entry: Attack[Any, Any, Any] = find("attack", attack)
    text = sys.modules[entry.__module__].__doc__ or ""
    return About(
        idea=text.strip().partition("\n")[0],
        papers=tuple(re.findall(r"arXiv:(\d{4}\.\d{5})", text)),
        access=tuple(a for a in get_args(Access) if a in entry.access),
        needs=tuple(n for n in NEEDS if n in entry.needs),
        grade=grade(entry),
    )


def sections(
    report: Report, model: str, figures: Sequence[PageFigure], rates: Mapping[str, Rates]
) -> tuple[Section, ...]:
    """The attacks on one unlearned model, in the order of the report.

    Args:
        figures: This model's.
        rates: How often each attack errs on models of known truth.
    """
    findings = report.findings_of(model)
    spent = {s.attack: s for s in findings.spent}
    return tuple(
        Section(
            row=row,
            about=about(row.attack),
            spent=spent.get(row.attack),
            seconds=_seconds(report, row),
            tried=findings.tried.get(row.attack, ()),
            figures=tuple(f for f in figures if row.attack in f.drawn.attacks),
            rates=rates.get(row.attack),
        )
        for row in report.rows_of(model)
    )


def _seconds(report: Report, row: Row) -> dict[str, float]:
    keys = {what: f"{kind}: {row.attack} on {row.model}" for kind, what in MEASURED.items()}
    seconds = report.runcard.seconds
    return {what: seconds[key] for what, key in keys.items() if key in seconds}
