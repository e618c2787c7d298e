"""From reports to pages: gathers what the templates show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from mechunlearn.analysis.records import Report
from mechunlearn.report.comparison import comparison
from mechunlearn.report.drawn import OVERVIEW, Drawn, drawn, inside_script
from mechunlearn.report.headline import Headline, headline, tested
from mechunlearn.report.questions import letters, tables
from mechunlearn.report.sections import Section, sections
from mechunlearn.report.words import name, operations, p_is, p_value, percent, without, words

VALIDATION = Path(__file__).parent / "validation.json"
"""Error rates of the attacks on models of known truth, as ``mechunlearn validate`` found them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One unlearned model on the page."""

    headline: Headline
    detail: Mapping[str, Any]
    overview: list[Drawn]
    sections: list[Section]
    others: list[Drawn]
    """Figures that are about no single attack."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.headline.model


def render(report: Report, validation: Mapping[str, Any] | None = None) -> str:
    """The page as text; everything from models and data is escaped.

    Args:
        validation: Result of ``mechunlearn validate``; default: the one that comes with the
            package.

    Raises:
        ValueError: If ``validation`` is something else.
    """
    known = validation or json.loads(VALIDATION.read_text(encoding="utf-8"))
    if missing := {"attacks", "verdict", "runcard", "added"} - set(known):
        raise ValueError(
            f"this is no result of a validation: it has no {', '.join(sorted(missing))}; give the "
            "validation.json that mechunlearn validate wrote"
        )
    models = tested(report)
    figures = drawn(report, models)
    card = report.runcard
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title="Is it gone, or only hidden? "
            f"{card['settings']['original']} on {card['task']['name']}",
            report=report,
            card=card,
            raw_card=json.dumps(card, indent=1, ensure_ascii=False),
            parts=[_part(report, model, figures, known) for model in models],
            figures=figures,
            shared=[f for f in figures if not f.model],
            sets=list(report.baselines["original"]),
            letters=letters(report),
            questions=report.questions,
            asked=tables(report.questions),
            data=inside_script(json.dumps(report.questions, ensure_ascii=False)),
            validation=known,
            plotly_js=get_plotlyjs(),
        )
    )


def render_comparison(runs: Mapping[str, Report]) -> str:
    """Several runs side by side: a row for every model and attack, a column for every run.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    return (
        _environment()
        .get_template("comparison.html.j2")
        .render(title=f"{len(runs)} audits side by side", **comparison(runs))
    )


def write_page(report: Report, path: Path, validation: Mapping[str, Any] | None = None) -> Path:
    """Write the page of one run."""
    path.write_text(render(report, validation), encoding="utf-8")
    return path


def write_comparison(runs: Mapping[str, Report], path: Path) -> Path:
    """Write the page that compares runs, by their names."""
    path.write_text(render_comparison(runs), encoding="utf-8")
    return path


def _part(report: Report, model: str, figures: Sequence[Drawn], known: Mapping[str, Any]) -> Part:
    mine = [f for f in figures if f.model == model]
    found = sections(report, model, mine, known)
    placed = {f.key for section in found for f in section.figures}
    overview = [f for f in mine if f.kind in OVERVIEW]
    others = [f for f in mine if f.key not in placed and f not in overview]
    return Part(headline(report, model), report.details[model], overview, found, others)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("mechunlearn", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (percent, p_is, p_value, operations, words, name, without)
    made.globals |= {f.__name__: f for f in shown}
    return made
