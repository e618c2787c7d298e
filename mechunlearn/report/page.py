"""From reports to pages: gathers what the templates show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from mechunlearn.analysis.columns import columns
from mechunlearn.analysis.records import Findings, Model, Row, Spent
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import (
    ROLES,
    TIERS,
    listed,
    name,
    operations,
    over_seeds,
    p_is,
    p_value,
    percent,
    with_role,
    words,
)
from mechunlearn.plots import figures as drawn_figures
from mechunlearn.records import plain
from mechunlearn.report.board import COLUMNS, SORTED_BY, standings
from mechunlearn.report.comparison import Comparison
from mechunlearn.report.figures import PageFigure, inside_script
from mechunlearn.report.headline import Headline, headlines
from mechunlearn.report.questions import browser_data, letters, tables
from mechunlearn.report.sections import Section, sections
from mechunlearn.studies.records import SituationRates, ValidationResult

VALIDATION = Path(__file__).parent / "validation.json"
"""Error rates of the attacks on models of known truth, as ``mechunlearn validate`` found them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One unlearned model on the page."""

    model: Model
    headline: Headline
    findings: Findings
    sections: tuple[Section, ...]
    figures: tuple[PageFigure, ...]
    """Those that belong to no attack's section, the overview's first."""

    @property
    def label(self) -> str:
        """The model's name."""
        return self.model.label

    @property
    def cheapest(self) -> Spent | None:
        """The price of the attack that brings half of the gap back for least arithmetic."""
        named = self.findings.cheapest_half
        return next((s for s in self.findings.spent if s.attack == named), None)

    @property
    def pareto(self) -> tuple[str, ...]:
        """Attacks that no other beats in everything."""
        return tuple(name(s.attack) for s in self.findings.spent if s.pareto)


def render(report: Report, validation: ValidationResult | None = None) -> str:
    """The page as text; everything from models and data is escaped.

    Args:
        validation: Result of ``mechunlearn validate``; default: the one that comes with the
            package.
    """
    known = validation or ValidationResult.load(VALIDATION)
    figures = [PageFigure.of(drawn) for drawn in drawn_figures(report)]
    card = report.runcard
    source = card.models[report.original.label].name
    first = report.unlearned[0]
    control = report.control_of(first.label)
    tier = "C" if first.verdict is None else first.verdict.tier
    rates = known.of(None if control is None else control.role, tier)
    parts = [_part(report, headline, figures, rates) for headline in headlines(report)]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"Is it gone, or only hidden? {source} on {card.task.name}",
            report=report,
            card=card,
            machine=msgspec.structs.asdict(card.machine),
            raw_card=json.dumps(plain(card), indent=1, ensure_ascii=False),
            parts=parts,
            tiers=sorted({part.headline.verdict.tier for part in parts}),
            figures=figures,
            common=[f for f in figures if not f.drawn.model],
            letters=letters(report),
            question_tables=tables(report.questions),
            data=inside_script(msgspec.json.encode(browser_data(report)).decode()),
            validation=known,
            rates=rates,
            plotly_js=get_plotlyjs(),
        )
    )


def render_comparison(runs: Mapping[str, Report]) -> str:
    """Several runs side by side: a row for every model and attack, a column for every run.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    template = _environment().get_template("comparison.html.j2")
    title = f"{len(runs)} audits side by side"
    return template.render(title=title, comparison=Comparison.of(runs))


def render_board(runs: Mapping[str, Report]) -> str:
    """Every unlearned model of some runs in one table that can be sorted.

    Args:
        runs: Reports by the names of their runs.

    Raises:
        ValueError: If there is no unlearned model.
    """
    board = standings(runs)
    if not board:
        raise ValueError("these runs have no unlearned model to show")
    return (
        _environment()
        .get_template("board.html.j2")
        .render(
            title="Audits of unlearned models",
            board=board,
            columns=COLUMNS,
            sorted_by=SORTED_BY,
            commands={run: report.runcard.command for run, report in runs.items()},
        )
    )


def write_page(report: Report, path: Path, validation: ValidationResult | None = None) -> Path:
    """Write the page of one run."""
    path.write_text(render(report, validation), encoding="utf-8")
    return path


def write_comparison(runs: Mapping[str, Report], path: Path) -> Path:
    """Write the page that compares runs, by their names."""
    path.write_text(render_comparison(runs), encoding="utf-8")
    return path


def write_board(runs: Mapping[str, Report], path: Path) -> Path:
    """Write the board of some runs, by their names."""
    path.write_text(render_board(runs), encoding="utf-8")
    return path


def by_measures(report: Report, row: Row) -> list[Row | None]:
    """An attack on a model by the verdict's measure, then by every other; ``None``: not taken."""
    of = {m: {(r.model, r.attack): r for r in t.rows} for m, t in report.by_measure.items()}
    return [row, *(rows.get((row.model, row.attack)) for rows in of.values())]


def _part(
    report: Report, headline: Headline, figures: Sequence[PageFigure], rates: SituationRates
) -> Part:
    of_model = [f for f in figures if f.drawn.model == headline.label]
    found = sections(report, headline.label, of_model, rates.attacks)
    placed = {f.drawn.key for section in found for f in section.figures}
    others = [f for f in of_model if f.drawn.overview or f.drawn.key not in placed]
    return Part(
        model=report.model(headline.label),
        headline=headline,
        findings=report.findings_of(headline.label),
        sections=found,
        figures=tuple(sorted(others, key=lambda f: not f.drawn.overview)),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mechunlearn", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (
        over_seeds,
        percent,
        p_is,
        p_value,
        operations,
        words,
        name,
        listed,
        with_role,
        columns,
        by_measures,
    )
    environment.globals |= {f.__name__: f for f in functions}
    environment.globals |= {"TIERS": TIERS, "ROLES": ROLES}
    return environment
