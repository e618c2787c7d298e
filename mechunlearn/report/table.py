"""The audit as a table on the terminal."""

from rich.table import Table

from mechunlearn.progress import console
from mechunlearn.report import percent, span
from mechunlearn.types import Report


def show(report: Report) -> None:
    """Print baselines, attacks and verdicts to standard error."""
    table = Table(title="Forget questions, confirm fold", title_justify="left")
    for column in ("model", "attack", "accuracy", "95 % CI", "recovery", "95 % CI", "p (Holm)"):
        table.add_column(column, justify="left" if column in ("model", "attack") else "right")
    for column in ("sham", "control", "on original", "retain"):
        table.add_column(column, justify="right")
    for model, sets in report.baselines.items():
        found = sets["forget"]
        cells = [model.replace("_", "-"), "none", percent(found["accuracy"])]
        cells += [span(found["accuracy_ci"]), *[""] * 6, percent(sets["retain"]["accuracy"])]
        table.add_row(*cells, style="dim")
    table.add_section()
    for row in report.rows:
        table.add_row(
            row["unlearned"],
            row["attack"].replace("_", " "),
            percent(row["accuracy"]),
            span(row["accuracy_ci"]),
            percent(row["recovery"]),
            span(row["recovery_ci"]),
            f"{row['p_holm']:.2g}",
            percent(row["sham_accuracy"]),
            percent(row["control_accuracy"]),
            percent(row["original_accuracy"]),
            percent(row["retain_accuracy"]),
        )
    console.print(table)
    for name in dict.fromkeys(row["unlearned"] for row in report.rows):
        console.print(report.details[name]["verdict"], highlight=False)
