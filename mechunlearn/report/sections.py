"""What the page says about each attack: what it did, with which settings, at what price."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechunlearn.analysis.across import evidence
from mechunlearn.analysis.records import Report
from mechunlearn.registry import find
from mechunlearn.report.drawn import Drawn
from mechunlearn.report.words import name

MEASURED = {"attack": "search, confirm fold and shams", "control": "control", "ceiling": "original"}
"""Kinds of cells by what they did."""


@dataclass(frozen=True, slots=True)
class About:
    """What an attack declares of itself; empty where it is not registered here."""

    idea: str = ""
    papers: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    grade: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One attack on one unlearned model."""

    row: Mapping[str, Any]
    about: About
    cost: Mapping[str, Any]
    """Examples, tokens, arithmetic and loss of utility; empty in reports that have none."""
    seconds: Mapping[str, float]
    """Measured, by what was done."""
    tried: list[dict[str, Any]]
    figures: list[Drawn]
    validated: Mapping[str, Any] | None

    @property
    def title(self) -> str:
        """The attack's name."""
        return name(self.row["attack"])

    @property
    def key(self) -> str:
        """Anchor on the page."""
        return f"{self.row['unlearned']}--{self.row['attack']}"

    @property
    def grade(self) -> str:
        """What the attacker had to know."""
        return self.row.get("evidence") or self.about.grade


def about(attack: str) -> About:
    """An attack's idea and paper from its file, its access and needs from its class."""
    try:
        entry = find("attack", attack)
    except ValueError:  # Of another version of the package, or of somebody's notebook.
        return About()
    text = sys.modules[entry.__module__].__doc__ or ""
    return About(
        text.strip().partition("\n")[0],
        tuple(re.findall(r"arXiv:(\d{4}\.\d{5})", text)),
        tuple(entry.access),
        tuple(entry.needs),
        evidence(attack),
    )


def sections(
    report: Report, model: str, figures: list[Drawn], validation: Mapping[str, Any]
) -> list[Section]:
    """The attacks on one unlearned model, in the order of the report."""
    detail, seconds = report.details[model], report.runcard["seconds"]
    costs = {c["attack"]: c for c in detail.get("cost", {}).get("attacks", ())}
    found = []
    for row in (r for r in report.rows if r["unlearned"] == model):
        attack = row["attack"]
        took = {
            what: seconds[f"{kind}: {attack} on {model}"]
            for kind, what in MEASURED.items()
            if f"{kind}: {attack} on {model}" in seconds
        }
        found.append(
            Section(
                row=row,
                about=about(attack),
                cost=costs.get(attack, {}),
                seconds=took,
                tried=detail["tried"].get(attack, []),
                figures=[f for f in figures if f.model == model and f.shows(attack)],
                validated=validation["attacks"].get(attack),
            )
        )
    return found
