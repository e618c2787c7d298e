"""The report as people use it: from a file, and as data frames."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mechunlearn.analysis.answers import answer_rows
from mechunlearn.analysis.embed import embedded
from mechunlearn.analysis.migrate import read_report
from mechunlearn.analysis.records import ReportFile
from mechunlearn.environment import write_json
from mechunlearn.errors import PrerequisiteError
from mechunlearn.records import Plain

if TYPE_CHECKING:
    import pandas as pd


class Report(ReportFile, frozen=True):
    """Everything an audit found; a pure function of it draws the figures and the page."""

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """A report from ``report.json`` or a run's folder; schema 1 is migrated.

        Raises:
            ValueError: If it is no report; names the place.
        """
        return read_report(Path(path), cls)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_json(path, msgspec.to_builtins(self))

    def __repr__(self) -> str:
        verdicts = [
            f"{m.label} {m.verdict.category}" for m in self.unlearned if m.verdict is not None
        ]
        n = self.original.sets["forget"].n
        return f"Report({self.runcard.task.name}, n = {n}: {'; '.join(verdicts) or 'no verdict'})"

    def frame(self) -> "pd.DataFrame":
        """The rows as a data frame; intervals as two columns. Needs pandas."""
        return _frame(msgspec.to_builtins(r) for r in self.rows)

    def answers_frame(self) -> "pd.DataFrame":
        """Every answer: model, attack, arm, set, question, said, right. Needs pandas."""
        return _frame(answer_rows(self))

    def _repr_html_(self) -> str:
        return embedded(self)


def _frame(rows: Iterable[dict[str, Plain]]) -> "pd.DataFrame":
    try:
        import pandas as pd
    except ImportError as err:
        raise PrerequisiteError("data frames need pandas: pip install pandas") from err
    return pd.DataFrame([flat(row) for row in rows])


def flat(row: dict[str, Plain]) -> dict[str, Plain]:
    """A record as a table has it: ``NAME_ci`` as ``NAME_low`` and ``NAME_high``, seeds alike."""
    cells: dict[str, Plain] = {}
    seeds = row.get("seeds")
    if isinstance(seeds, dict):
        row = {key: value for key, value in row.items() if key != "seeds"}
        row |= {f"seeds_{key}": value for key, value in seeds.items()}
    for key, value in row.items():
        if key.endswith("_range"):
            low, high = value or (None, None)
            cells |= {f"{key.removesuffix('_range')}_min": low}
            cells |= {f"{key.removesuffix('_range')}_max": high}
        elif key.endswith("_ci"):
            name, (low, high) = key.removesuffix("_ci"), value or (None, None)
            cells |= {f"{name}_low": low, f"{name}_high": high}
        else:
            cells[key] = value
    return cells
