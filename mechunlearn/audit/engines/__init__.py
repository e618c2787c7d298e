"""Where models are made and cells computed: here, in several processes, or on a Ray cluster."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from mechunlearn.audit.cells import Cell, Made, Setup
from mechunlearn.audit.checkpoints import make
from mechunlearn.audit.pool import Loaded
from mechunlearn.audit.work import Done, Group, baseline, compute
from mechunlearn.errors import unknown

Name = Literal["here", "ray"]
NAMES: tuple[Name, ...] = get_args(Name)
Job = Cell | Group | Made
"""What one worker computes at a time: a baseline, an attack on a model, or a model."""


@runtime_checkable
class Workers(Protocol):
    """Compute one audit; ``done`` is called in this process, which alone writes results."""

    def models(self, made: Sequence[Made]) -> None:
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

    def opened(self, setup: Setup) -> AbstractContextManager[Workers]:
        """Workers for one audit, which end with the context."""
        ...


def timed_baseline(setup: Setup, cell: Cell, load: Loaded) -> dict[str, Any]:
    """A baseline cell's result."""
    start = time.perf_counter()
    model = load(setup.sources[cell.model])
    result = baseline(model, setup.task, original=cell.model == "original")
    return result | {"seconds": round(time.perf_counter() - start, 2)}


def results(setup: Setup, job: Job, load: Loaded) -> list[tuple[str, dict[str, Any]]]:
    """Results of a job's cells by the cells' keys; a model is made and has none."""
    if isinstance(job, Made):
        make(setup, job)
        return []
    if isinstance(job, Cell):
        return [(job.key, timed_baseline(setup, job, load))]
    found: list[tuple[str, dict[str, Any]]] = []
    compute(setup, [job], load, lambda cell, result: found.append((cell.key, result)))
    return found


@dataclass(frozen=True, slots=True)
class Here:
    """This process: models one after another, each loaded once where they fit."""

    load: Loaded

    @contextmanager
    def opened(self, setup: Setup) -> Iterator[Workers]:
        """See ``Engine``."""
        yield _Here(setup, self.load.like(setup.plan.loading))


@dataclass(frozen=True, slots=True)
class _Here:
    setup: Setup
    load: Loaded

    def models(self, made: Sequence[Made]) -> None:
        for one in made:
            make(self.setup, one)

    def baselines(self, cells: Sequence[Cell], done: Done) -> None:
        for cell in cells:
            done(cell, timed_baseline(self.setup, cell, self.load))

    def attacks(self, groups: Sequence[Group], done: Done) -> None:
        compute(self.setup, groups, self.load, done)


def engine(name: str, address: str = "auto", workers: int = 0) -> Engine:
    """An engine by name.

    Args:
        address: For Ray: ``auto``, a head's ``HOST:PORT``, or ``local`` for one on this machine.
        workers: How many; 0: this process, or with Ray as many as the cluster has room for.

    Raises:
        ValueError: For an unknown name.
        PrerequisiteError: If Ray is not installed or no cluster is found.
    """
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    if name == "here" and workers < 2:
        return Here(Loaded())
    if name == "here":
        from mechunlearn.audit.engines.processes import Processes

        return Processes(workers)
    from mechunlearn.audit.engines.ray import OnRay

    return OnRay(address, workers)
