"""Run a plan: make the models, and compute the cells that are not there yet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import UnsetType
from scipy import stats

from mechunlearn.audit.cells import Cell, Setup, set_up
from mechunlearn.audit.checkpoints import making_seconds
from mechunlearn.audit.checks import refuse
from mechunlearn.audit.engines import Engine, Here, Workers
from mechunlearn.audit.estimate import Estimate, affordable, calibrate, estimates
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.plan import AuditPlan, seconds
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import Result, StoreFile
from mechunlearn.audit.select import lost
from mechunlearn.audit.store import Store
from mechunlearn.audit.work import Group
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.types import Question

KNOWS = 0.1
"""A never-knew model must not have more than this share of the original's knowledge."""
KNOWS_OPENLY = 0.5
"""The same for open answers: of TOFU's ROUGE a never-knew model has a third, beyond its form."""


def run(plan: AuditPlan, out: Path, engine: Engine | None = None) -> Evidence:
    """Carry out the plan, keeping every finished piece in ``out``.

    A second call with the same plan and folder computes only what is missing, and nothing where the
    run is finished. It goes on with the number of threads with which the run began.

    Args:
        engine: Where cells are computed; default: in this process.

    Raises:
        ValueError: If the folder holds another run or another process works on it, a model or
            task is unusable, or the never-knew model knows.
        PrerequisiteError: If the folder cannot be written.
    """
    engine = engine or Here(ModelPool())
    store = Store(out)
    threads = _threads(plan, store.check(plan.identity), engine.threads)
    setup = set_up(plan, out, threads)
    refuse(setup)
    with store.opened(plan.identity, threads):
        cells = _unique(setup)
        evidence = Evidence(setup, store.all(cells), {})
        missing = [c for c in cells if c.key not in evidence.results]
        if not missing:
            console.print(f"{out} holds all {len(cells)} cells already; nothing to compute")
        if missing:
            with engine.opened(setup) as workers:
                workers.models(setup.recipes)
                if (limit := seconds(plan.budget)) is not None:
                    missing = affordable(setup, estimates(setup, missing, calibrate(setup)), limit)
                _compute(missing, evidence, store, workers)
        evidence.making = making_seconds(setup)
    return evidence


def dry_run(plan: AuditPlan, out: Path, engine: Engine | None = None) -> list[Estimate]:
    """What is missing of an audit and what it will cost; computes nothing and writes nothing.

    Models that the audit has to make first are not counted.

    Raises:
        ValueError: As ``run``.
    """
    engine = engine or Here(ModelPool())
    store = Store(out)
    setup = set_up(plan, out, _threads(plan, store.check(plan.identity), engine.threads))
    refuse(setup)
    cells = _unique(setup)
    there = store.all(cells)
    missing = [c for c in cells if c.key not in there]
    costs = estimates(setup, missing, calibrate(setup)) if missing else []
    limit = seconds(plan.budget)
    kept = None if limit is None else {c.key for c in affordable(setup, costs, limit)}
    return [e for e in costs if kept is None or e.cell.key in kept]


def _threads(plan: AuditPlan, known: StoreFile | None, machine: int) -> int:
    """As the plan says, as the run began, or what the machine has."""
    if plan.threads:
        return plan.threads
    if known is not None and known.threads != machine:
        console.print(f"[dim]going on with {known.threads} thread(s), as the run began[/dim]")
    return machine if known is None else known.threads


def _unique(setup: Setup) -> list[Cell]:
    """Two names may stand for one model."""
    cells: dict[str, Cell] = {}
    for cell in setup.cells:
        cells.setdefault(cell.key, cell)
    return list(cells.values())


def _compute(missing: Sequence[Cell], evidence: Evidence, store: Store, workers: Workers) -> None:
    """Baselines first: what an attack asks depends on them."""
    count = 0

    def done(cell: Cell, result: Result, took: float) -> None:
        nonlocal count
        count += 1
        evidence.results[cell.key] = store.write(cell, result, took)
        about = f"{cell.attack} ({cell.kind})" if cell.attack else cell.kind
        console.print(f"[dim]{count}/{len(missing)} {cell.model}: {about}, {took} s[/dim]")

    workers.baselines([c for c in missing if c.kind == "baseline"], done)
    _refuse_knowing(evidence)
    workers.attacks(groups(missing, evidence), done)


def groups(missing: Sequence[Cell], evidence: Evidence) -> list[Group]:
    """The missing cells of each attack on each unlearned model."""
    pairs: dict[tuple[str, str], Group] = {}
    for cell in missing:
        if cell.kind == "baseline":
            continue
        key = cell.model, cell.attack
        group = pairs.setdefault(key, Group(cell.model, cell.attack, missing={}))
        group.missing[cell.kind] = cell
    for (label, attack), group in pairs.items():
        group.asked = _asked(evidence, label)
        group.retain_before = evidence.answers(label, "retain_select").mean
        if "attack" not in group.missing:
            group.variant = evidence.attack(label, attack).variant
    return list(pairs.values())


def _asked(evidence: Evidence, label: str) -> tuple[Question, ...]:
    """Select-fold questions that the original answers and the unlearned model does not."""
    questions = evidence.setup.task.questions("forget", "select")
    original = evidence.answers(evidence.setup.original.label, "forget_select").values
    unlearned = evidence.answers(label, "forget_select").values
    return lost(questions, original, unlearned)


def _refuse_knowing(evidence: Evidence) -> None:
    """A control that knows the facts would hide every recovery behind its own knowledge."""
    setup = evidence.setup
    twin = setup.never_knew
    if twin is None:
        return
    values, original = (
        np.concatenate([evidence.answers(x, key).values for key in ("forget", "forget_select")])
        for x in (twin.label, setup.original.label)
    )
    chance, known, share = setup.task.chance, float(values.mean()), KNOWS
    if not find("measure", setup.task.scoring).compares:
        # Texts get a part of most values for their form alone.
        hidden = evidence.baseline(setup.original.label).hidden
        chance, share = 0.0 if isinstance(hidden, UnsetType) else hidden.mean, KNOWS_OPENLY
    right = round(float(values.sum()))
    p = stats.binomtest(right, len(values), chance, alternative="greater").pvalue
    if p < 0.001 and known - chance > share * (float(original.mean()) - chance):
        raise ValueError(
            f"the never-knew model {twin.source} answers {known:.0%} of the forget "
            f"questions (chance {chance:.0%}): it knows them and is no control; give another "
            "--control, or none"
        )
