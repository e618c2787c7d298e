"""What tables show of an attack: one declaration for the page, the terminal, notebooks and diff.

A new statistic is a field of ``Row``, its computation, and a ``Column`` here. Parquet files hold
every field of ``Row`` without one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mechunlearn.analysis.records import Row
from mechunlearn.analysis.words import over_seeds, p_value, percent
from mechunlearn.records import Interval

Table = Literal["brief", "overview", "attack", "comparison", "diff"]
"""``brief``: terminal and notebooks; ``overview``: all attacks on a model, on the page; ``attack``:
one attack's own table; ``comparison``: runs side by side; ``diff``: what moved."""
SHOWN: frozenset[Table] = frozenset({"brief", "overview", "attack"})


def _no_interval(row: Row) -> None:
    return None


def _no_remark(row: Row) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Column:
    """A statistic of one attack on one model."""

    key: str
    title: str
    explains: Callable[[Row], str]
    """What it is."""
    value: Callable[[Row], float | None]
    interval: Callable[[Row], Interval | None] = _no_interval
    format: Callable[[float | None, Interval | None], str] = percent
    unit: Literal["%", "points", ""] = "%"
    tables: frozenset[Table] = SHOWN
    bar: bool = False
    """Whether the page also draws it."""
    remark: Callable[[Row], str] = _no_remark
    """Stands below the value on the page."""

    @property
    def heading(self) -> str:
        """The title, with the unit."""
        return f"{self.title} {self.unit}".strip()

    def text(self, row: Row) -> str:
        """The value with its interval."""
        return self.format(self.value(row), self.interval(row))


def columns(table: Table) -> tuple[Column, ...]:
    """What a table shows, in order."""
    return tuple(c for c in COLUMNS if table in c.tables)


def _control(row: Row) -> str:
    if row.control is None:
        made_up = "made-up questions, " if row.tier == "B" else ""
        return f"tier {row.tier}: the highest of {made_up}sham, unlearned model and guessing"
    return f"tier {row.tier}: the never-knew model under the attack"


def _p(value: float | None, interval: Interval | None) -> str:
    return p_value(value)


COLUMNS = (
    Column(
        "value",
        "accuracy",
        lambda row: "forget questions, under the attack",
        lambda row: row.value,
        lambda row: row.value_ci,
        tables=SHOWN | {"comparison", "diff"},
    ),
    Column(
        "gap",
        "gap",
        lambda row: "original minus unlearned accuracy, without any attack",
        lambda row: row.gap,
        lambda row: row.gap_ci,
        unit="points",
        tables=frozenset({"attack"}),
    ),
    Column(
        "difference",
        "difference",
        lambda row: "brought back, net of the control",
        lambda row: row.difference,
        lambda row: row.difference_ci,
        unit="points",
        tables=frozenset({"attack", "diff"}),
    ),
    Column(
        "recovery",
        "recovery",
        lambda row: "the difference as a share of the gap",
        lambda row: row.recovery,
        lambda row: row.recovery_ci,
        tables=SHOWN | {"comparison", "diff"},
        bar=True,
        remark=lambda row: over_seeds(row.seeds),
    ),
    Column(
        "p",
        "p",
        lambda row: "signs of whole sources flipped",
        lambda row: row.p,
        format=_p,
        unit="",
        tables=frozenset({"attack"}),
    ),
    Column(
        "p_adjusted",
        "p (adjusted)",
        lambda row: "the same, for all attacks on this model",
        lambda row: row.p_adjusted,
        format=_p,
        unit="",
        tables=frozenset({"overview", "attack"}),
    ),
    Column(
        "sham",
        "sham",
        lambda row: f"{row.model} under a placebo of the same size",
        lambda row: row.sham,
    ),
    Column(
        "control",
        "control",
        _control,
        lambda row: row.compared,
        remark=lambda row: f"tier {row.tier}",
    ),
    Column(
        "original",
        "on original",
        lambda row: "the original under the attack: what the attack itself costs",
        lambda row: row.original,
    ),
    Column(
        "retain",
        "retain",
        lambda row: "retain questions, under the attack",
        lambda row: row.retain,
        remark=lambda row: "" if row.within_limit else "over the limit",
    ),
)
"""In the order of the tables."""
