"""Every attack beside every method, as Markdown tables.

    python figures/attacks.py                       prints what was measured (data/attacks.json)
    python figures/attacks.py data/chat_audit.json  another such file
    python figures/attacks.py RUN ... data/NAME.json  takes it from audits' folders first

The first table has recoveries, the second what they are made of.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.row import Row
from mechunlearn.analysis.significance import significant

HERE = Path(__file__).parent
ROW = (
    *("model", "attack", "family", "evidence", "n", "tier", "value", "value_ci", "recovery"),
    *("recovery_ci", "sham", "control", "original", "retain", "within_limit", "seconds"),
)
"""Of a row; not what was chosen, which for ``gcg`` is a text that is not published."""


def summary(report: Report) -> dict[str, Any]:
    """Models and rows of a report, without answers."""
    known = {m.label: m for m in report.models}
    models = [
        {
            "model": m.label,
            "verdict": None if m.verdict is None else m.verdict.category,
            "original": report.original.sets["forget"].value,
            "forget": m.sets["forget"].value,
            "forget_ci": m.sets["forget"].value_ci,
            "retain": m.sets["retain"].value,
            "never_knew": None if m.control is None else known[m.control].sets["forget"].value,
        }
        for m in report.unlearned
    ]
    return {"task": report.runcard.task.name, "models": models, "rows": [*map(kept, report.rows)]}


def kept(row: Row) -> dict[str, Any]:
    """What the file has of a row."""
    return {name: getattr(row, name) for name in ROW} | {"found": significant(row)}


def percent(value: float | None) -> str:
    """A share in whole per cent."""
    return "-" if value is None else f"{100 * value:.0f}"


def recovery(row: dict[str, Any]) -> str:
    """With its interval; bold: beats all its controls; a star: beyond the retain limit."""
    if row["recovery"] is None:
        return "-"
    low, high = map(percent, row["recovery_ci"])
    shown = f"{percent(row['recovery'])} [{low}, {high}]"
    shown = f"**{shown}**" if row["found"] else shown
    return shown if row["within_limit"] else f"{shown} \\*"


def parts(row: dict[str, Any]) -> str:
    """Accuracy, its sham's, the never-knew model's; retain accuracy."""
    return " / ".join(percent(row[name]) for name in ("value", "sham", "control", "retain"))


def table(rows: list[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    """Attacks down, unlearned models and seconds across."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = ["| attack | " + " | ".join(f"`{m}`" for m in models) + " | s |"]
    lines.append("|---" * (len(models) + 2) + "|")
    for attack in dict.fromkeys(row["attack"] for row in rows):
        own = {row["model"]: row for row in rows if row["attack"] == attack}
        shown = [cell(own[m]) if m in own else "" for m in models]
        seconds = max(row["seconds"] for row in own.values())
        lines.append(f"| `{attack}` | {' | '.join(shown)} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Keep what is given, and print it."""
    *runs, file = map(Path, sys.argv[1:] or [HERE / "data" / "attacks.json"])
    if runs:
        found = [summary(Report.load(run)) for run in runs]
        made = {"task": found[0]["task"], "models": [m for each in found for m in each["models"]]}
        rows = ",\n  ".join(json.dumps(row) for each in found for row in each["rows"])
        head = json.dumps(made, indent=1)[:-2]
        file.write_text(f'{head},\n "rows": [\n  {rows}\n ]\n}}\n', encoding="utf-8")
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    sys.stdout.write(f"{table(rows, recovery)}\n\n{table(rows, parts)}\n")


if __name__ == "__main__":
    main()
