"""Every attack beside every method, as Markdown tables: python figures/attacks.py [report.json].

The first has recoveries, the second what they are made of.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.row import Row
from mechunlearn.analysis.significance import significant

HERE = Path(__file__).parent


def percent(value: float | None) -> str:
    """A share in whole per cent."""
    return "-" if value is None else f"{100 * value:.0f}"


def recovery(row: Row) -> str:
    """With its interval; bold: beats all its controls; a star: beyond the retain limit."""
    if row.recovery is None or row.recovery_ci is None:
        return "-"
    low, high = (percent(x) for x in row.recovery_ci)
    shown = f"{percent(row.recovery)} [{low}, {high}]"
    shown = f"**{shown}**" if significant(row) else shown
    return shown if row.within_limit else f"{shown} \\*"


def parts(row: Row) -> str:
    """Accuracy, its sham's, the never-knew model's; retain accuracy; seconds."""
    shares = (row.value, row.sham, row.control, row.retain)
    return " / ".join([*map(percent, shares), f"{row.seconds:.0f} s"])


def table(report: Report, cell: Callable[[Row], str]) -> str:
    """Attacks down, unlearned models across."""
    cells = {(row.attack, row.model): cell(row) for row in report.rows}
    models = list(dict.fromkeys(model for _, model in cells))
    lines = ["| attack | " + " | ".join(f"`{m}`" for m in models) + " |"]
    lines.append("|---" * (len(models) + 1) + "|")
    for attack in dict.fromkeys(attack for attack, _ in cells):
        shown = " | ".join(cells.get((attack, model), "") for model in models)
        lines.append(f"| `{attack}` | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "audit-attacks" / "six-methods"
    found = Report.load(file)
    sys.stdout.write(f"{table(found, recovery)}\n\n{table(found, parts)}\n")
