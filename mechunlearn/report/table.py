"""Audits and validations as tables on the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from mechunlearn.analysis.columns import columns
from mechunlearn.analysis.compare import Moved
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import DASH, TIERS, name, over_seeds, percent, with_role
from mechunlearn.audit.estimate import Estimate
from mechunlearn.audit.outlook import CARDS, Outlook
from mechunlearn.progress import console
from mechunlearn.records import Plain
from mechunlearn.studies.paper import Cell as PaperCell
from mechunlearn.studies.records import ValidationResult


def show(report: Report) -> None:
    """Print baselines, attacks and verdicts to standard error."""
    n, brief = report.original.sets["forget"].n, columns("brief")
    title = f"{report.runcard.task.name}: forget questions, n = {n}, in %"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("model, attack")
    for column in brief:
        table.add_column(column.title, justify="right", no_wrap=True)
    for model in report.models:
        forget = model.sets["forget"]
        known = {
            "value": percent(forget.value, forget.value_ci),
            "retain": percent(model.sets["retain"].value),
        }
        table.add_row(with_role(model), *(known.get(c.key, "") for c in brief), style="dim")
    table.add_section()
    if repeated := any(row.seeds for row in report.rows):
        table.add_column("over seeds")
    for row in report.rows:
        spread = [over_seeds(row.seeds)] if repeated else []
        table.add_row(f"{row.model}, {name(row.attack)}", *(c.text(row) for c in brief), *spread)
    console.print(table)
    for model in report.unlearned:
        if (verdict := model.verdict) is not None:
            console.print(verdict.text, highlight=False, markup=False)
    for tier in dict.fromkeys(row.tier for row in report.rows):
        console.print(f"control tier {tier}: {TIERS[tier]}", highlight=False)


def show_estimates(estimates: Sequence[Estimate]) -> None:
    """Print what is missing of an audit, and its cost, to standard error."""
    if not estimates:
        console.print("everything is there already")
        return
    table = Table(title="cells that are missing, and about what they cost here", box=box.SIMPLE)
    for column in ("model", "attack", "cell", "seconds", "FLOP", "memory, MB"):
        table.add_column(column, justify="right" if column in "seconds FLOP memory, MB" else "left")
    for e in estimates:
        cost = (f"{e.seconds:.1f}", f"{e.flops:.1e}", f"{e.memory / 1e6:.0f}")
        table.add_row(e.cell.model, e.cell.attack.replace("_", " "), e.cell.kind, *cost)
    console.print(table)
    total, maybe = (sum(e.seconds for e in estimates if e.conditional is x) for x in (False, True))
    console.print(
        f"{len(estimates)} cells, about {total / 60:.1f} minutes, without making models; memory is "
        "one model's, with all that an attack keeps beside it."
    )
    if maybe:
        console.print(
            f"Planted hiding takes about {maybe / 60:.1f} minutes more, and is attacked only where "
            "a verdict would otherwise be that there is no evidence (--planted)."
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
            apart = percent(c.difference[0], c.difference[1:])
        ours = percent(c.accuracy, c.interval)
        table.add_row(c.set, c.attack, c.model, ours, str(c.n), theirs, apart)
    console.print(table)
    console.print(
        "Best variant on the questions reported, as published; brackets are 95 % intervals, of the "
        "difference those of two independent samples. A model without a published column has none."
    )


def show_outlook(outlook: Outlook) -> None:
    """Print what an audit would need, to standard error."""
    for d in outlook.downloads:
        size = "of unknown size" if d.bytes is None else f"{d.bytes / 1e9:.1f} GB"
        console.print(f"{d.model}: {size}, {'here' if d.there else 'to be fetched'}")
    if missing := [d for d in outlook.downloads if not d.there]:
        total = sum(d.bytes or 0 for d in missing)
        console.print(f"to fetch: {len(missing)} models, about {total / 1e9:.0f} GB")
    if outlook.data:
        console.print(f"data sets: {', '.join(outlook.data)}", markup=False)
    if outlook.sizes is None:
        console.print("memory: not known before the original's config.json is here")
        return
    table = Table(title="memory of each step on a GPU, one model at a time", box=box.SIMPLE)
    for column in ("step", "GB", "largest part beside the weights", *(f"{c} GB" for c in CARDS)):
        table.add_column(column, justify="right" if column.endswith("GB") else "left")
    for step in outlook.steps:
        parts = {k: v for k, v in step.memory.parts.items() if k != "weights"}
        largest = max(parts, key=lambda k: parts[k])
        fits = ["fits" if step.fits(card) else "no" for card in CARDS]
        what = f"{largest}, {parts[largest] / 1e9:.1f} GB"
        table.add_row(step.attack.replace("_", " "), f"{step.memory.total / 1e9:.1f}", what, *fits)
    console.print(table)
    about = "taken, since the task is not here" if outlook.typical else "the task's longest"
    console.print(
        f"{outlook.parameters / 1e9:.2f} billion parameters, from the configuration alone; prompts "
        f"of {outlook.sizes.longest} tokens ({about}). Copies that undo training lie on the host."
    )


def show_changes(
    changes: Sequence[Moved], differs: Mapping[str, Sequence[Plain]] | None = None
) -> None:
    """Print to standard error which numbers moved, and in what the two runs differ.

    Args:
        differs: Conditions, as ``mechunlearn.analysis.compare.differences`` gives them.
    """
    if changes:
        table = Table(title="numbers that moved, in %", box=box.SIMPLE)
        for column in ("number", "first", "second", "beyond the intervals"):
            table.add_column(column, justify="left" if column == "number" else "right")
        for c in changes:
            beyond = "yes" if c.beyond else "no"
            table.add_row(c.what, percent(c.before), percent(c.after), beyond)
        console.print(table)
    else:
        console.print("every number is the same")
    for condition, (first, second) in (differs or {}).items():
        console.print(f"{condition}: {first or DASH}, then {second or DASH}", markup=False)


def show_validation(validation: ValidationResult) -> None:
    """Print sensitivities and false-alarm rates to standard error."""
    table = Table(title="models of known truth, in % with 95 % intervals", box=box.SIMPLE)
    for column in ("", "sensitivity", "n", "false alarms", "n"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for attack, rates in [*validation.attacks.items(), ("verdict", validation.verdict)]:
        table.add_row(
            name(attack),
            percent(rates.sensitivity, rates.sensitivity_ci),
            str(rates.sensitivity_n),
            percent(rates.false_alarm_rate, rates.false_alarm_rate_ci),
            str(rates.false_alarm_rate_n),
        )
    console.print(table)
    for condition, categories in validation.verdict.confusion.items():
        counts = ", ".join(f"{category} {n}" for category, n in categories.items())
        console.print(f"{condition}: {counts}", highlight=False)
