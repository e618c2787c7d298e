"""Run a plan: make the models, compute the cells that are not there yet, report on the store."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mechunlearn.analysis.assemble import Results, assemble
from mechunlearn.analysis.records import Report
from mechunlearn.audit.cells import Cell, Setup, set_up
from mechunlearn.audit.checkpoints import making
from mechunlearn.audit.engines import Engine, Here, Workers
from mechunlearn.audit.estimate import Estimate, affordable, calibrate, estimates
from mechunlearn.audit.plan import AuditPlan, seconds
from mechunlearn.audit.pool import Loaded
from mechunlearn.audit.store import Store, read_json
from mechunlearn.audit.work import ASKED, Group
from mechunlearn.environment import write_json
from mechunlearn.progress import console
from mechunlearn.types import Question

KNOWS = 0.1
"""A never-knew model must not have more than this share of the original's knowledge."""


def audit(plan: AuditPlan, out: Path, engine: Engine | None = None) -> Report:
    """Carry out the plan and write ``report.json`` to ``out``.

    Every finished piece is kept: a second call with the same plan and folder computes only what is
    missing, and nothing where the run is finished.

    Args:
        engine: Where cells are computed; default: in this process.

    Raises:
        ValueError: If the folder holds another run or another process works on it, a model or
            task is unusable, or the never-knew model knows.
        PrerequisiteError: If the folder cannot be written.
    """
    store = Store(out)
    store.check(plan.identity)
    setup = set_up(plan, out)
    with store.opened(plan.identity):
        cells: dict[str, Cell] = {}
        for cell in setup.cells:
            cells.setdefault(cell.key, cell)  # Two names may stand for one model.
        results = Results(setup, store.all(cells.values()))
        missing = [c for key, c in cells.items() if key not in results.found]
        if not missing:
            console.print(f"{out} holds all {len(cells)} cells already; nothing to compute")
        if missing:
            with (engine or Here(Loaded())).opened(setup) as workers:
                workers.models(setup.made)
                if (limit := seconds(plan.budget)) is not None:
                    missing = affordable(setup, estimates(setup, missing, calibrate(setup)), limit)
                _compute(setup, missing, results, store, workers)
        report = assemble(results, out, making(setup))
        if read_json(out / "report.json") != report.to_dict():
            write_json(out / "report.json", report.to_dict())
    return report


def dry_run(plan: AuditPlan, out: Path) -> list[Estimate]:
    """What is missing of an audit and what it will cost; computes nothing and writes nothing.

    Models that the audit has to make first are not counted.

    Raises:
        ValueError: As ``audit``.
    """
    store = Store(out)
    store.check(plan.identity)
    setup = set_up(plan, out)
    cells = {c.key: c for c in setup.cells}
    there = store.all(cells.values())
    missing = [c for key, c in cells.items() if key not in there]
    found = estimates(setup, missing, calibrate(setup)) if missing else []
    limit = seconds(plan.budget)
    kept = None if limit is None else {c.key for c in affordable(setup, found, limit)}
    return [e for e in found if kept is None or e.cell.key in kept]


def _compute(
    setup: Setup, missing: list[Cell], results: Results, store: Store, workers: Workers
) -> None:
    """Baselines first: what an attack asks depends on them."""
    count = 0

    def done(cell: Cell, result: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        store.write(cell, result)
        results.found[cell.key] = result
        about = f"{cell.attack} ({cell.kind})" if cell.attack else cell.kind
        console.print(
            f"[dim]{count}/{len(missing)} {cell.model}: {about}, {result['seconds']} s[/dim]"
        )

    workers.baselines([c for c in missing if c.kind == "baseline"], done)
    _refuse_knowing(setup, results)
    workers.attacks(groups(setup, missing, results), done)


def groups(setup: Setup, missing: list[Cell], results: "Results") -> list[Group]:
    """The missing cells of each attack on each unlearned model."""
    found: dict[tuple[str, str], Group] = {}
    for cell in missing:
        if cell.kind == "baseline":
            continue
        group = found.setdefault(
            (cell.model, cell.attack), Group(cell.model, cell.attack, missing={})
        )
        group.missing[cell.kind] = cell
    for (name, attack), group in found.items():
        group.asked = _asked(setup, results, name)
        group.retain_before = results.score(name, "retain_select").accuracy
        if "attack" not in group.missing:
            group.settings = results.cell("attack", name, attack)["settings"]
    return list(found.values())


def _asked(setup: Setup, results: "Results", name: str) -> tuple[Question, ...]:
    """Select-fold questions that the original answers and the unlearned model does not."""
    questions = setup.task.questions("forget", "select")
    lost = results.score("original", "forget_select").correct
    lost = lost & ~results.score(name, "forget_select").correct
    chosen = tuple(q for q, keep in zip(questions, lost, strict=True) if keep)
    return chosen if len(chosen) >= ASKED else questions


def _refuse_knowing(setup: Setup, results: "Results") -> None:
    """A control that knows the facts would hide every recovery behind its own knowledge."""
    if "never_knew" not in setup.sources:
        return
    sets = ("forget", "forget_select")
    correct, original = (
        np.concatenate([results.score(name, key).correct for key in sets])
        for name in ("never_knew", "original")
    )
    chance, known = setup.task.chance, float(correct.mean())
    p = stats.binomtest(int(correct.sum()), len(correct), chance, alternative="greater").pvalue
    if p < 0.001 and known - chance > KNOWS * (float(original.mean()) - chance):
        raise ValueError(
            f"the never-knew model {setup.sources['never_knew']} answers {known:.0%} of the forget "
            f"questions (chance {chance:.0%}): it knows them and is no control; give another "
            "--control, or none"
        )
