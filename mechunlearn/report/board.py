"""Many audits on one scale: a row for each unlearned model, to be sorted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mechunlearn.analysis.records import Category, Model, Row, Tier
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import able, deciding, hits
from mechunlearn.analysis.words import name, percent
from mechunlearn.records import Interval
from mechunlearn.report.terminal import Head, print_table

Value = str | float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell of the board says, and what it is sorted by."""

    text: str
    value: Value
    interval: Interval | None = None
    """Where the cell has a bar."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """One unlearned model of one run."""

    run: str
    model: str
    task: str
    n: int
    verdict: Category | None
    """``None`` where the audit is not finished."""
    tier: Tier | None
    before: float
    """Share of the forget questions that the original answers."""
    after: float
    after_ci: Interval
    kept_before: float
    kept: float
    """Of the retain questions."""
    best: Row | None
    """The attack that decides the verdict, or else the one that brings back most."""
    found: int
    """Attacks that brought back more than their controls."""
    tried: int
    """Complete attacks that could have."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """As ``COLUMNS`` names them."""
        best, verdict = self.best, self.verdict or "not judged yet"
        recovery = None if best is None else best.recovery
        interval = None if best is None else best.recovery_ci
        return (
            Cell(self.run, self.run),
            Cell(self.model, self.model),
            Cell(verdict, verdict, note=f"tier {self.tier}" if self.tier else ""),
            Cell(percent(recovery, interval), recovery, interval),
            _under(best),
            Cell(percent(self.after, self.after_ci), self.after, self.after_ci),
            Cell(percent(self.before), self.before),
            Cell(percent(self.kept), self.kept, note=f"before {percent(self.kept_before)}"),
            _found_by(self.found, self.tried),
            Cell(self.task, self.task, note=f"n = {self.n}"),
        )


def _under(best: Row | None) -> Cell:
    if best is None:
        return Cell(percent(None), None)
    note = f"{name(best.attack)}; control {percent(best.compared)}"
    return Cell(percent(best.value, best.value_ci), best.value, best.value_ci, note)


def _found_by(found: int, tried: int) -> Cell:
    if not tried:
        return Cell(percent(None), None, note="no attack could show it")
    return Cell(f"{found} of {tried}", found / tried)


@dataclass(frozen=True, slots=True)
class BoardColumn:
    """A column of the board."""

    title: str
    words: bool = False
    bar: bool = False
    """Whether a picture of the interval between 0 and 100 % stands beside the number."""


COLUMNS = (
    BoardColumn("run", words=True),
    BoardColumn("model", words=True),
    BoardColumn("verdict", words=True),
    BoardColumn("recovery %", bar=True),
    BoardColumn("best attack %", bar=True),
    BoardColumn("no attack %", bar=True),
    BoardColumn("original %"),
    BoardColumn("retain %"),
    BoardColumn("found by"),
    BoardColumn("task", words=True),
)
SORTED_BY = 3
"""Place of the column that the board is sorted by before anybody sorts it: recovery."""


def standings(runs: Mapping[str, Report]) -> list[Standing]:
    """Every unlearned model of every run, the one that gives most back first.

    Args:
        runs: Reports by the names of their runs.
    """
    found = [_standing(run, r, m) for run, r in runs.items() for m in r.unlearned]

    def order(standing: Standing) -> tuple[bool, float]:
        value = standing.cells[SORTED_BY].value
        return (value is None, -value if isinstance(value, float) else 0.0)

    return sorted(found, key=order)


def _standing(run: str, report: Report, model: Model) -> Standing:
    rows, original = report.rows_of(model.label), report.original
    tried = able(rows)
    best = deciding(rows) or max(tried or rows, key=lambda r: r.difference, default=None)
    forget = model.sets["forget"]
    return Standing(
        run=run,
        model=model.label,
        task=report.runcard.task.name,
        n=forget.n,
        verdict=model.verdict.category if model.verdict else None,
        tier=model.verdict.tier if model.verdict else None,
        before=original.sets["forget"].value,
        after=forget.value,
        after_ci=forget.value_ci,
        kept_before=original.sets["retain"].value,
        kept=model.sets["retain"].value,
        best=best,
        found=len(hits(rows)),
        tried=len(tried),
    )


RANKS = (0, 0, 0, 0, 1, 2, 5, 4, 3, 6)
"""What a narrow terminal leaves out first has the highest."""


def show_board(board: Sequence[Standing]) -> None:
    """Print the board; in a pipe with tabs between."""
    heads = [Head(c.title, rank, words=c.words) for c, rank in zip(COLUMNS, RANKS, strict=True)]
    rows = [[cell.text for cell in standing.cells] for standing in board]
    print_table(f"{len(board)} unlearned models", heads, rows)
