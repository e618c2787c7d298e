"""What an engine is, what one worker computes, and the engine that is this process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from mechunlearn.audit.baseline import baseline
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.checkpoints import make
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import Result
from mechunlearn.audit.work import Done, Group, compute, loaded

Job = Cell | Group | Recipe
"""What one worker computes at a time: a baseline, an attack on a model, or a model."""


@runtime_checkable
class Workers(Protocol):
    """Compute one audit; ``done`` is called in this process, which alone writes results."""

    def models(self, recipes: Sequence[Recipe]) -> None:
        """Make the models that are not there yet."""
        ...

    def baselines(self, cells: Sequence[Cell], done: Done) -> None:
        """Compute models' answers without attacks."""
        ...

    def attacks(self, groups: Sequence[Group], done: Done) -> None:
        """Compute the missing cells of groups."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A place to compute in."""

    @property
    def threads(self) -> int:
        """Threads that each worker has here, unless a plan or an earlier run says otherwise."""
        ...

    def opened(self, setup: Setup) -> AbstractContextManager[Workers]:
        """Workers for one audit, which end with the context."""
        ...


Finished = tuple[str, Result, float]
"""A cell's key, its result and the seconds it took."""


def timed_baseline(setup: Setup, cell: Cell, load: ModelPool) -> tuple[Result, float]:
    """A baseline cell's result and seconds."""
    start = time.perf_counter()
    entry = setup.entry(cell.model)
    result = baseline(
        loaded(setup, cell.model, load),
        setup.task,
        guessing=entry.role == "original",
        twins=setup.twins(cell.model),
        seed=setup.plan.seed,
    )
    return result, round(time.perf_counter() - start, 2)


def results(setup: Setup, job: Job, load: ModelPool) -> list[Finished]:
    """Results of a job's cells; a model is made and has none."""
    if isinstance(job, Recipe):
        make(setup, job)
        return []
    if isinstance(job, Cell):
        return [(job.key, *timed_baseline(setup, job, load))]
    finished: list[Finished] = []
    compute(setup, [job], load, lambda cell, *result: finished.append((cell.key, *result)))
    return finished


@dataclass(frozen=True, slots=True)
class Here:
    """This process: models one after another, each loaded once where they fit."""

    load: ModelPool

    @property
    def threads(self) -> int:
        """See ``Engine``."""
        return torch.get_num_threads()

    @contextmanager
    def opened(self, setup: Setup) -> Iterator[Workers]:
        """See ``Engine``."""
        before = torch.get_num_threads()
        torch.set_num_threads(setup.threads)
        try:
            yield _Here(setup, self.load.with_options(setup.plan.loading))
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class _Here:
    setup: Setup
    load: ModelPool

    def models(self, recipes: Sequence[Recipe]) -> None:
        for recipe in recipes:
            make(self.setup, recipe)

    def baselines(self, cells: Sequence[Cell], done: Done) -> None:
        for cell in cells:
            done(cell, *timed_baseline(self.setup, cell, self.load))

    def attacks(self, groups: Sequence[Group], done: Done) -> None:
        compute(self.setup, groups, self.load, done)
