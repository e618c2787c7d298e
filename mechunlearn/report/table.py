"""Audits and validations on the terminal; in a pipe as tab-separated values."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mechunlearn.analysis.columns import COLUMNS, Column, columns
from mechunlearn.analysis.compare import Moved
from mechunlearn.analysis.records import Model, Row
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import DASH, ROLES, name, over_seeds, percent
from mechunlearn.bench.lm_eval_results import Result
from mechunlearn.progress import console, results
from mechunlearn.records import Plain
from mechunlearn.registry import find
from mechunlearn.report.summary import sentences
from mechunlearn.report.terminal import Head, print_lines, print_table
from mechunlearn.studies.paper import Cell as PaperCell
from mechunlearn.studies.records import SITUATIONS, SituationRates, ValidationResult
from mechunlearn.studies.separation import SeparationResult
from mechunlearn.tasks.benchmark import Benchmark
from mechunlearn.types import Question, Score, Scoring, Task


def show(report: Report) -> None:
    """Print every model without and under attack, and what it means in three sentences."""
    n, brief = report.original.sets["forget"].n, columns("brief")
    heads = [Head("", words=True), *(Head(c.title, _rank(c, i)) for i, c in enumerate(brief))]
    title = f"{report.runcard.task.name}: forget questions right, in % (n = {n}, 95 % intervals)"
    if any(row.seeds for row in report.rows):
        heads.append(Head("over seeds", words=True))
    grouped = [[*row, ""][: len(heads)] if row else row for row in _grouped(report, brief)]
    print_table(title, heads, grouped, piped=list(_flat(report, brief)))
    for model in report.unlearned:
        if said := sentences(report, model.label):
            print_summary(model.label, said)


def print_summary(label: str, said: Sequence[str]) -> None:
    """What one would tell a colleague; beside a table in a pipe it is a note."""
    place = results() if results().is_terminal else console
    place.print(f"\n{label}", style="bold", highlight=False, markup=False)
    for sentence in said:
        place.print(sentence, highlight=False, markup=False)


def _grouped(report: Report, brief: Sequence[Column]) -> Iterator[list[str]]:
    """Rows for a reader: what models are measured against first, then model by model."""

    def plain(title: str, model: Model) -> list[str]:
        return [title, *(_known(model).get(c.key, "") for c in brief)]

    yield from (plain(ROLES[m.role], m) for m in report.models if m.role in ROLES)
    for model in report.unlearned:
        yield []
        yield [model.label, *("" for _ in brief)]
        yield plain("  no attack", model)
        for row in report.rows_of(model.label):
            yield [f"  {name(row.attack)}", *(c.text(row) for c in brief), over_seeds(row.seeds)]
        control = report.control_of(model.label)
        if control is not None and control.role == "control":
            yield plain("  its control", control)


def _rank(column: Column, place: int) -> int:
    """What a narrow terminal leaves out: what an attack does to the original before anything."""
    return len(COLUMNS) if column.key == "original" else place


def _known(model: Model) -> dict[str, str]:
    forget = model.sets["forget"]
    return {
        "value": percent(forget.value, forget.value_ci),
        "retain": percent(model.sets["retain"].value),
    }


def _flat(report: Report, brief: Sequence[Column]) -> Iterator[list[str]]:
    """The same for a program: one value a cell, in %, with the bounds of intervals beside it."""
    wide = {"value"} | {c.key for c in brief if any(c.interval(row) for row in report.rows)}
    names = [[c.title, f"{c.title} low", f"{c.title} high"] if c.key in wide else [c.title]
             for c in brief]  # fmt: skip
    yield ["model", "role", "attack", "verdict", *(x for each in names for x in each)]

    def cells(values: Mapping[str, tuple[float | None, ...]]) -> list[str]:
        found = []
        for c in brief:
            value = values.get(c.key, ())
            size = 3 if c.key in wide else 1
            found += ["" if v is None else f"{100 * v:.1f}" for v in value] or [""] * size
        return found

    for model in report.models:
        forget = model.sets["forget"]
        known = {"value": (forget.value, *forget.value_ci), "retain": (model.sets["retain"].value,)}
        verdict = model.verdict.category if model.verdict else ""
        yield [model.label, model.role, "none", verdict, *cells(known)]
        for row in report.rows_of(model.label):
            values = {c.key: (c.value(row), *_bounds(c, row, wide)) for c in brief}
            yield [model.label, model.role, row.attack, "", *cells(values)]


def _bounds(column: Column, row: Row, wide: set[str]) -> tuple[float | None, ...]:
    return (column.interval(row) or (None, None)) if column.key in wide else ()


def show_scores(scores: Mapping[str, Score], asked: Benchmark | Task, model: str) -> None:
    """Print how much of each question set is right, and what guessing would give."""
    heads = [Head(t, words=t == "questions") for t in ("questions", "right", "guessing", "n")]
    guessed = {kind: chance(questions, asked.scoring) for kind, questions in asked.sets.items()}
    rows = [
        [kind, percent(s.accuracy, s.interval), percent(guessed[kind]), str(s.n)]
        for kind, s in scores.items()
    ]
    title = f"{model} on {asked.name}, scored by {asked.scoring}, in % (95 % intervals)"
    names = ["model", "task", "scoring", "questions", "right", "right low", "right high"]
    flat = [[*names, "guessing", "n"]]
    for kind, s in scores.items():
        numbers = [f"{100 * x:.1f}" for x in (s.accuracy, *s.interval, guessed[kind])]
        flat.append([model, asked.name, asked.scoring, kind, *numbers, str(s.n)])
    print_table(title, heads, rows, piped=flat)


def show_results(results: Sequence[Result], source: str) -> None:
    """Print what lm-eval found."""
    heads = [Head(t, words=i < 2) for i, t in enumerate(("task", "metric", "value", "stderr", "n"))]
    rows = [
        [
            r.task,
            r.metric,
            f"{100 * r.value:.1f}",
            DASH if r.stderr is None else f"{100 * r.stderr:.1f}",
            DASH if r.n is None else str(r.n),
        ]
        for r in results
    ]
    print_table(f"lm-eval, {source}, in %", heads, rows)


def chance(questions: Sequence[Question], scoring: Scoring) -> float:
    """What guessing would give, on average."""
    return float(np.mean([find("measure", scoring).chance(q) for q in questions]))


def show_paper(cells: Sequence[PaperCell]) -> None:
    """Print our table beside the published one."""
    titles = ("questions", "attack", "model", "ours", "n", "published", "difference")
    words, ranks = ("questions", "attack", "model"), {"n": 1, "difference": 2}
    heads = [Head(t, ranks.get(t, 0), words=t in words) for t in titles]
    rows = []
    for c in cells:
        theirs, apart = "–", "–"
        if c.published is not None and c.difference is not None:
            theirs = percent(c.published[0] / c.published[1])
            apart = percent(c.difference[0], c.difference[1:])
        ours = percent(c.accuracy, c.interval)
        rows.append([c.set, c.attack, c.model, ours, str(c.n), theirs, apart])
    print_table("ours beside the published numbers, in %", heads, rows)
    console.print(
        "Best variant on the questions reported, as published; brackets are 95 % intervals, of the "
        "difference those of two independent samples. A model without a published column has none."
    )


def show_changes(
    changes: Sequence[Moved], differs: Mapping[str, Sequence[Plain]] | None = None
) -> None:
    """Print which numbers moved, and in what the two runs differ.

    Args:
        differs: Conditions, as ``mechunlearn.analysis.compare.differences`` gives them.
    """
    if changes:
        titles = ("number", "first", "second", "beyond the intervals")
        heads = [Head(t, words=t == "number") for t in titles]
        rows = [
            [c.what, percent(c.before), percent(c.after), "yes" if c.beyond else "no"]
            for c in changes
        ]
        print_table("numbers that moved, in %", heads, rows)
    else:
        print_lines(["every number is the same"])
    for condition, (first, second) in (differs or {}).items():
        console.print(f"{condition}: {first or DASH}, then {second or DASH}", markup=False)


def show_separations(result: SeparationResult) -> None:
    """Print how well each number tells a model's forget questions from others."""
    models = list(dict.fromkeys(row.model for row in result.rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in result.rows:
        text = f"{row.auc:.2f} [{row.auc_ci[0]:.2f}, {row.auc_ci[1]:.2f}]"
        lines.setdefault((row.against, row.score), {})[row.model] = text
    heads = [Head("from", words=True), Head("by", words=True), *map(Head, models)]
    rows = [
        [against, score, *(of.get(model, DASH) for model in models)]
        for (against, score), of in lines.items()
    ]
    print_table(f"{result.task}: forget questions told apart, AUC with 95 % intervals", heads, rows)
    console.print(
        f"A half is nothing; reference: the loss beyond that of {result.reference}. Beside a model "
        "that never knew, the same numbers say what forgetting alone would look like.",
        markup=False,
    )


def show_validation(validation: ValidationResult) -> None:
    """Print sensitivities and false-alarm rates for each kind of control."""
    for situation, rates in validation.situations.items():
        _show_rates(rates, SITUATIONS[situation])


def _show_rates(situation: SituationRates, title: str) -> None:
    titles = ("", "sensitivity", "n", "false alarms", "n")
    heads = [Head(t, words=not t) for t in titles]
    rows = [
        [
            name(attack),
            percent(rates.sensitivity, rates.sensitivity_ci),
            str(rates.sensitivity_n),
            percent(rates.false_alarm_rate, rates.false_alarm_rate_ci),
            str(rates.false_alarm_rate_n),
        ]
        for attack, rates in [*situation.attacks.items(), ("verdict", situation.verdict)]
    ]
    print_table(f"{title}, in % with 95 % intervals", heads, rows)
    for condition, categories in situation.verdict.confusion.items():
        counts = ", ".join(f"{category} {n}" for category, n in categories.items())
        console.print(f"{condition}: {counts}", highlight=False)
