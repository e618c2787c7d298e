"""Audits and validations as tables on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from mechunlearn.analysis.compare import Moved
from mechunlearn.analysis.records import Report
from mechunlearn.audit.estimate import Estimate
from mechunlearn.audit.outlook import CARDS, Outlook
from mechunlearn.progress import console
from mechunlearn.report.headline import tested
from mechunlearn.report.words import percent
from mechunlearn.studies.paper import Cell as PaperCell


def show(report: Report) -> None:
    """Print baselines, attacks and verdicts to standard error."""
    n, task = report.baselines["original"]["forget"]["n"], report.runcard["task"]["name"]
    table = Table(title=f"{task}: forget questions, n = {n}, in %", box=box.SIMPLE)
    table.add_column("model, attack")
    for column in ("accuracy", "recovery", "sham", "control", "original", "retain"):
        table.add_column(column, justify="right", no_wrap=True)
    for model, sets in report.baselines.items():
        found = sets["forget"]
        accuracy = percent(found["accuracy"], found["accuracy_ci"])
        kept = percent(sets["retain"]["accuracy"])
        table.add_row(model.replace("_", "-"), accuracy, *[""] * 4, kept, style="dim")
    table.add_section()
    for row in report.rows:
        others = ("sham_accuracy", "control_accuracy", "original_accuracy", "retain_accuracy")
        table.add_row(
            f"{row['unlearned']}, {row['attack'].replace('_', ' ')}",
            percent(row["accuracy"], row["accuracy_ci"]),
            percent(row["recovery"], row["recovery_ci"]),
            *[percent(row[key]) for key in others],
        )
    console.print(table)
    for name in tested(report):
        console.print(report.details[name]["verdict"], highlight=False)


def show_estimates(found: Sequence[Estimate]) -> None:
    """Print what is missing of an audit, and its cost, to standard error."""
    if not found:
        console.print("everything is there already")
        return
    table = Table(title="cells that are missing, and about what they cost here", box=box.SIMPLE)
    for column in ("model", "attack", "cell", "seconds", "FLOP", "memory, MB"):
        table.add_column(column, justify="right" if column in "seconds FLOP memory, MB" else "left")
    for e in found:
        cost = (f"{e.seconds:.1f}", f"{e.flops:.1e}", f"{e.memory / 1e6:.0f}")
        table.add_row(e.cell.model, e.cell.attack.replace("_", " "), e.cell.kind, *cost)
    console.print(table)
    total = sum(e.seconds for e in found)
    console.print(
        f"{len(found)} cells, about {total / 60:.1f} minutes, without making models; memory is "
        "one model's, with all that an attack keeps beside it."
    )


def show_paper(cells: Sequence[PaperCell]) -> None:
    """Print our table beside the published one, to standard error."""
    table = Table(title="ours beside the published numbers, in %", box=box.SIMPLE)
    for column in ("questions", "attack", "model", "ours", "n", "published", "difference"):
        table.add_column(column, justify="left" if column in "questions attack model" else "right")
    for c in cells:
        theirs, apart = "–", "–"
        if c.published is not None and c.difference is not None:
            theirs = percent(c.published[0] / c.published[1])
            apart = percent(c.difference[0], list(c.difference[1:]))
        ours = percent(c.accuracy, list(c.interval))
        table.add_row(c.set, c.attack, c.model, ours, str(c.n), theirs, apart)
    console.print(table)
    console.print(
        "Best variant on the questions reported, as published; brackets are 95 % intervals, of the "
        "difference those of two independent samples. A model without a published column has none."
    )


def show_outlook(found: Outlook) -> None:
    """Print what an audit would need, to standard error."""
    for d in found.downloads:
        size = "of unknown size" if d.bytes is None else f"{d.bytes / 1e9:.1f} GB"
        console.print(f"{d.model}: {size}, {'here' if d.there else 'to be fetched'}")
    if missing := [d for d in found.downloads if not d.there]:
        total = sum(d.bytes or 0 for d in missing)
        console.print(f"to fetch: {len(missing)} models, about {total / 1e9:.0f} GB")
    if found.data:
        console.print(f"data sets: {', '.join(found.data)}", markup=False)
    if found.sizes is None:
        console.print("memory: not known before the original's config.json is here")
        return
    table = Table(title="memory of each step on a GPU, one model at a time", box=box.SIMPLE)
    for column in ("step", "GB", "largest part beside the weights", *(f"{c} GB" for c in CARDS)):
        table.add_column(column, justify="right" if column.endswith("GB") else "left")
    for step in found.steps:
        parts = {k: v for k, v in step.memory.parts.items() if k != "weights"}
        largest = max(parts, key=lambda k: parts[k])
        fits = ["fits" if step.fits(card) else "no" for card in CARDS]
        what = f"{largest}, {parts[largest] / 1e9:.1f} GB"
        table.add_row(step.attack.replace("_", " "), f"{step.memory.total / 1e9:.1f}", what, *fits)
    console.print(table)
    about = "taken, since the task is not here" if found.typical else "the task's longest"
    console.print(
        f"{found.parameters / 1e9:.2f} billion parameters, from the configuration alone; prompts "
        f"of {found.sizes.longest} tokens ({about}). Copies that undo training lie on the host."
    )


def show_changes(changes: Sequence[Moved]) -> None:
    """Print which numbers moved to standard error."""
    if not changes:
        console.print("every number is the same")
        return
    table = Table(title="numbers that moved, in %", box=box.SIMPLE)
    for column in ("number", "first", "second", "beyond the intervals"):
        table.add_column(column, justify="left" if column == "number" else "right")
    for c in changes:
        table.add_row(c.what, percent(c.before), percent(c.after), "yes" if c.beyond else "no")
    console.print(table)


def show_validation(found: dict[str, Any]) -> None:
    """Print sensitivities and false-alarm rates to standard error."""
    table = Table(title="models of known truth, in % with 95 % intervals", box=box.SIMPLE)
    for column in ("", "sensitivity", "n", "false alarms", "n"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, rates in [*found["attacks"].items(), ("verdict", found["verdict"])]:
        cells = [name.replace("_", " ")]
        for key in ("sensitivity", "false_alarm_rate"):
            cells += [percent(rates[key], rates[f"{key}_ci"]), str(rates[f"{key}_n"])]
        table.add_row(*cells)
    console.print(table)
    for condition, categories in found["verdict"]["confusion"].items():
        words = ", ".join(f"{category} {n}" for category, n in categories.items())
        console.print(f"{condition}: {words}", highlight=False)
