"""From the finished cells to the report: a pure function of the evidence."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import get_args

import msgspec
import numpy as np

from mechunlearn.analysis.answers import (
    choices,
    measured,
    questions,
    questions_of,
    sources_of,
    values,
)
from mechunlearn.analysis.arms import arms_of
from mechunlearn.analysis.by_measure import by_measure
from mechunlearn.analysis.findings import findings_of
from mechunlearn.analysis.leaks import leaks
from mechunlearn.analysis.positive import positive_controls
from mechunlearn.analysis.records import (
    Findings,
    Measured,
    Model,
    PositiveControl,
    Row,
    RunCard,
    TaskCard,
)
from mechunlearn.analysis.recovery import interval
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.rounding import short_interval
from mechunlearn.analysis.rows import before_of, rows_of, tier_of
from mechunlearn.analysis.spread import with_spread
from mechunlearn.analysis.tests import Sources
from mechunlearn.analysis.verdict import Subject, judge
from mechunlearn.audit.engines import Engine
from mechunlearn.audit.entries import Entry
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import run
from mechunlearn.bench.renaming import suggested
from mechunlearn.errors import BudgetError
from mechunlearn.models.identity import task_revision
from mechunlearn.records import decoded, encoded, read_record
from mechunlearn.registry import find
from mechunlearn.types import Fold, Role


def audit(plan: AuditPlan, out: str | Path | None = None, engine: Engine | None = None) -> Report:
    """Carry out the plan and write ``report.json`` to ``out``.

    Every finished piece is kept: a second call with the same plan and folder computes only what is
    missing, and nothing where the run is finished. Where a verdict would be that there is no
    evidence, hiding is planted in the original and attacked too, unless the plan says otherwise.

    Args:
        out: Folder of the run; default: one in ``runs`` whose name says what is audited.
        engine: Where cells are computed; default: in this process.

    Raises:
        ValueError: If the folder holds another run or another process works on it, a model or
            task is unusable, or the never-knew model knows.
        PrerequisiteError: If the folder cannot be written.
    """
    out = Path(out) if out else plan.folder
    started = monotonic()
    report = analyse(run(plan, out, engine))
    if plan.planted == "auto" and not report.not_computed and _unearned(report):
        with suppress(BudgetError):  # What is finished is reported.
            spent = monotonic() - started
            report = analyse(run(plan, out, engine, planted=True, spent=spent))
    if not _holds(out / "report.json", report):
        report.save(out / "report.json")
    return report


def _unearned(report: Report) -> bool:
    """Whether a positive control would decide about one of the models."""
    return any(m.verdict is not None and m.verdict.unearned for m in report.unlearned)


def _holds(file: Path, report: Report) -> bool:
    """Whether a file says what this report says."""
    try:
        return read_record(file, Report) == decoded(encoded(report), Report, "the report")
    except ValueError:
        return False


def analyse(evidence: Evidence) -> Report:
    """Estimates for every unlearned model and attack, and everything a reader needs beside them."""
    positive = positive_controls(evidence)
    report = msgspec.structs.replace(
        _analysed(evidence, positive), by_measure=by_measure(evidence), leaks=leaks(evidence)
    )
    return with_spread(report, [_analysed(r, positive) for r in evidence.repeats])


def _analysed(evidence: Evidence, positive: tuple[PositiveControl, ...]) -> Report:
    """The report of one seed."""
    setup = evidence.setup
    guessing = evidence.baseline(setup.original.label).guessing
    assert guessing is not None
    arms = {pair: arms_of(evidence, *pair) for pair in evidence.complete}
    arms_on = {
        entry.label: {a: arms[model, a] for model, a in arms if model == entry.label}
        for entry in setup.unlearned
    }
    rows_on = {label: rows_of(evidence, label, of) for label, of in arms_on.items()}
    rows = tuple(row for of in rows_on.values() for row in of)
    findings = tuple(
        findings_of(evidence, label, rows_on[label], of) for label, of in arms_on.items()
    )
    return Report(
        runcard=_runcard(evidence),
        models=tuple(_models(evidence, rows, findings, positive)),
        rows=rows,
        findings=findings,
        guessing=guessing,
        not_computed=tuple(
            (entry.label, attack)
            for entry in setup.unlearned
            for attack in setup.attacks
            if (entry.label, attack) not in arms
        ),
        questions=questions(evidence),
        positive_controls=positive,
    )


def _models(
    evidence: Evidence,
    rows: Sequence[Row],
    findings: Sequence[Findings],
    positive: tuple[PositiveControl, ...],
) -> Iterator[Model]:
    """All models without any attack; of those under test with their verdicts."""
    setup = evidence.setup
    measured = {entry.label: _measured(evidence, entry) for entry in setup.entries}
    of = {found.model: found for found in findings}
    for entry in setup.entries:
        tested = entry.role == "unlearned"
        yield Model(
            label=entry.label,
            role=entry.role,
            sets=measured[entry.label],
            verdict=judge(
                of[entry.label],
                [row for row in rows if row.model == entry.label],
                _subject(evidence, entry, measured, positive),
            )
            if tested
            else None,
            control=entry.control if tested else None,
            more_controls=entry.controls[1:] if tested else (),
            letters=choices(evidence, entry.label, "forget").table()
            if find("measure", setup.task.scoring).one_token
            else None,
        )


def _subject(
    evidence: Evidence,
    entry: Entry,
    measured: dict[str, dict[str, Measured]],
    positive: tuple[PositiveControl, ...],
) -> Subject:
    setup, started = evidence.setup, before_of(evidence, entry.label)
    before, after = measured[setup.original.label], measured[entry.label]
    control, lost = setup.control(entry.label), started.original - started.unlearned
    return Subject(
        before=before["forget"],
        after=after["forget"],
        retain_before=before["retain"],
        retain_after=_retained(evidence, entry, after["retain"]),
        gap_ci=short_interval(interval(lost, started.sources, setup.plan.seed)),
        chance=setup.task.chance,
        retain_chance=setup.task.chance_of(questions_of(setup.task, "retain")),
        tier=tier_of(setup, entry.label),
        control=None if control is None else control.role,
        untreated=max((measured[c]["forget"].value for c in entry.controls), default=0.0),
        n_controls=len(entry.controls),
        positive=positive or None,
        missing=tuple(a for a in setup.attacks if (entry.label, a) not in evidence.complete),
        same=entry.identity == setup.original.identity,
    )


def _retained(evidence: Evidence, entry: Entry, said: Measured) -> Measured:
    """The retain answers, with the letters renamed where the select fold suggests that."""
    if not find("measure", evidence.setup.task.scoring).one_token:
        return said
    select, confirm = (choices(evidence, entry.label, x) for x in ("retain_select", "retain"))
    names = suggested(select.said, select.right, max(select.n, confirm.n))
    if names is None:
        return said
    return measured(confirm.under(np.array(names)), _sources(evidence, entry.label, "retain"))


def _measured(evidence: Evidence, entry: Entry) -> dict[str, Measured]:
    sets = evidence.baseline(entry.label).sets
    return {
        name: measured(values(answers), _sources(evidence, entry.label, name))
        for name, answers in sets.items()
        if not name.endswith("_select")
    }


def _sources(evidence: Evidence, model: str, name: str) -> Sources:
    setup = evidence.setup
    return sources_of(setup.twins(model) if name == "twins" else questions_of(setup.task, name))


def _runcard(evidence: Evidence) -> RunCard:
    setup, task = evidence.setup, evidence.setup.task
    original = evidence.baseline(setup.original.label)
    seconds = dict(evidence.making)
    for cell in setup.cells:
        if (file := evidence.results.get(cell.key)) is not None:
            about = f"{cell.attack} on {cell.model}" if cell.attack else f"of {cell.model}"
            seconds[f"{cell.kind}: {about}"] = file.seconds
    roles: tuple[Role, ...] = get_args(Role)
    folds: tuple[Fold, ...] = get_args(Fold)
    return RunCard(
        command=setup.plan.command(setup.out),
        seed=setup.plan.seed,
        models={entry.label: evidence.baseline(entry.label).model for entry in setup.entries},
        task=TaskCard(
            name=task.name,
            scoring=task.scoring,
            chance=task.chance,
            n={f"{r}, {f}": len(task.questions(r, f)) for r in roles for f in folds},
            template=task.prompt.turn.notes,
            revision=task_revision(task),
        ),
        settings=setup.plan.to_dict(),
        versions=original.versions,
        machine=original.machine,
        seconds=seconds | {"total": round(sum(seconds.values()), 2)},
    )
