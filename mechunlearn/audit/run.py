"""Run a plan: make the models, and compute the cells that are not there yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec import UnsetType
from scipy import stats

from mechunlearn.audit.cells import Cell, Setup, set_up
from mechunlearn.audit.checkpoints import making_seconds
from mechunlearn.audit.checks import refuse
from mechunlearn.audit.engines import Engine, Here, Workers
from mechunlearn.audit.entries import Entry
from mechunlearn.audit.estimate import Estimate, affordable, amounts, calibrate, estimates
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.making import Making, free_for, makings
from mechunlearn.audit.option import seconds
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import Result, StoreFile
from mechunlearn.audit.select import lost
from mechunlearn.audit.store import Store
from mechunlearn.audit.work import Group
from mechunlearn.progress import console, work
from mechunlearn.registry import find
from mechunlearn.types import Question

KNOWS = 0.1
"""A never-knew model must not have more than this share of the original's knowledge."""
KNOWS_OPENLY = 0.5
"""The same for open answers: of TOFU's ROUGE a never-knew model has a third, beyond its form."""


def run(
    plan: AuditPlan,
    out: Path,
    engine: Engine | None = None,
    *,
    planted: bool = False,
    spent: float = 0.0,
) -> Evidence:
    """Carry out the plan, keeping every finished piece in ``out``.

    A second call with the same plan and folder computes only what is missing, and nothing where the
    run is finished. It goes on with the number of threads with which the run began.

    Args:
        engine: Where cells are computed; default: in this process.
        planted: Whether to attack planted hiding too, whatever the plan says.
        spent: Seconds of the plan's budget that are gone already.

    Raises:
        BudgetError: If nothing that is missing fits into the budget.
        ValueError: If the folder holds another run or another process works on it, a model or
            task is unusable, or the never-knew model knows.
        PrerequisiteError: If the folder cannot be written.
    """
    engine = engine or Here(ModelPool())
    store = Store(out)
    threads = _threads(plan, store.check(plan.identity), engine.threads)
    setups = _setups(plan, out, threads, planted)
    limit = seconds(plan.budget)
    left = None if limit is None else max(0.0, limit - spent)
    found: list[Evidence] = []
    with store.opened(plan.identity, threads):
        for setup in setups:
            if found and left is not None and left <= 0:
                break
            evidence, left = _carried_out(setup, store, engine, left)
            found.append(evidence)
    found[0].repeats = tuple(found[1:])
    return found[0]


def _setups(plan: AuditPlan, out: Path, threads: int, planted: bool) -> list[Setup]:
    """The plan with its first seed, and with each further one; planted models only once."""
    setups = [
        set_up(
            each,
            out,
            threads,
            suffix=f"-seed{each.seed}" if i else "",
            planted=i == 0 and (planted or plan.planted == "always"),
        )
        for i, each in enumerate(plan.repeats)
    ]
    for setup in setups:
        refuse(setup)
    return setups


def _carried_out(
    setup: Setup, store: Store, engine: Engine, left: float | None
) -> tuple[Evidence, float | None]:
    """The evidence of one seed, and the time that is left after it."""
    cells = _unique(setup)
    evidence = Evidence(setup, store.all(cells), {})
    missing = [c for c in cells if c.key not in evidence.results]
    if not missing:
        console.print(f"{setup.out} holds all {len(cells)} cells already; nothing to compute")
    if missing:
        with engine.opened(setup) as workers:
            workers.models(setup.recipes)
            if left is not None:
                costs = estimates(setup, missing, calibrate(setup))
                missing, left = _within(setup, costs, left)
            _compute(missing, evidence, store, workers)
    evidence.making = making_seconds(setup)
    return evidence, left


@dataclass(frozen=True, slots=True)
class Missing:
    """What an audit has still to do."""

    cells: list[Estimate] = field(default_factory=list)
    models: list[Making] = field(default_factory=list)
    """That it has to make first."""


def dry_run(plan: AuditPlan, out: Path, engine: Engine | None = None) -> Missing:
    """What is missing of an audit and what it will cost; computes nothing and writes nothing.

    Raises:
        ValueError: As ``run``.
        PrerequisiteError: If a GPU or package is needed that is not there.
    """
    engine = engine or Here(ModelPool())
    store = Store(out)
    threads = _threads(plan, store.check(plan.identity), engine.threads)
    limit = seconds(plan.budget)
    known: set[str] = set()
    found, free = Missing(), 0.0
    for setup in _setups(plan, out, threads, plan.planted == "auto"):
        cells = [c for c in _unique(setup) if c.key not in known]
        known |= {c.key for c in cells}
        there = store.all(cells)
        missing = [c for c in cells if c.key not in there]
        if not missing:
            continue
        free = free or free_for(plan)
        speed = calibrate(setup)
        own = estimates(setup, missing, speed)
        if limit is not None:
            kept, limit = _within(setup, own, limit)
            own = [e for e in own if e.cell in kept]
        found.cells.extend(own)
        found.models.extend(makings(setup, speed, free))
        if limit is not None and limit <= 0:
            break
    return found


def _within(setup: Setup, costs: Sequence[Estimate], left: float) -> tuple[list[Cell], float]:
    """Cells that fit into the time, and what is left of it; 0 where something did not fit."""
    chosen = affordable(setup, costs, left)
    rest = left - sum(e.seconds for e in costs if e.cell in chosen)
    return chosen, rest if len(chosen) == len(costs) else 0.0


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
    size = dict(zip((c.key for c in missing), amounts(evidence.setup, missing), strict=True))
    with work("audit", sum(size.values()), len(missing)) as step:

        def done(cell: Cell, result: Result, took: float) -> None:
            evidence.results[cell.key] = store.write(cell, result, took)
            about = f"{cell.attack} ({cell.kind})" if cell.attack else cell.kind
            step(f"{cell.model}: {about}, {took} s", size[cell.key])

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
        if cell.further:
            group.further.append(cell)
        else:
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
    for twin in setup.never_knew:
        _refuse_one(evidence, twin)


def _refuse_one(evidence: Evidence, twin: Entry) -> None:
    setup = evidence.setup
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
