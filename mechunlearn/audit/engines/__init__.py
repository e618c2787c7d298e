"""Where an audit's cells are computed: in this process, or by workers of a Ray cluster."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.compute import Done, Group, baseline, compute
from mechunlearn.audit.loaded import Loaded
from mechunlearn.errors import unknown

Name = Literal["here", "ray"]
NAMES: tuple[Name, ...] = get_args(Name)


@runtime_checkable
class Engine(Protocol):
    """Computes cells; ``done`` is called in this process, which alone writes results."""

    def baselines(self, setup: Setup, cells: Sequence[Cell], done: Done) -> None:
        """Compute models' answers without attacks."""
        ...

    def attacks(self, setup: Setup, groups: Sequence[Group], done: Done) -> None:
        """Compute the missing cells of groups."""
        ...


def timed_baseline(setup: Setup, cell: Cell, load: Loaded) -> dict[str, Any]:
    """A baseline cell's result."""
    start = time.perf_counter()
    model = load(setup.sources[cell.model])
    result = baseline(model, setup.task, original=cell.model == "original")
    return result | {"seconds": round(time.perf_counter() - start, 2)}


@dataclass(frozen=True, slots=True)
class Here:
    """This process: models one after another, each loaded once where they fit."""

    load: Loaded

    def baselines(self, setup: Setup, cells: Sequence[Cell], done: Done) -> None:
        """See ``Engine``."""
        for cell in cells:
            done(cell, timed_baseline(setup, cell, self.load.like(setup.plan.loading)))

    def attacks(self, setup: Setup, groups: Sequence[Group], done: Done) -> None:
        """See ``Engine``."""
        compute(setup, groups, self.load.like(setup.plan.loading), done)


def engine(name: str, address: str = "auto", workers: int = 0) -> Engine:
    """An engine by name.

    Args:
        address: For Ray: ``auto``, a head's ``HOST:PORT``, or ``local`` for one on this machine.
        workers: For Ray: how many at most; 0: as many as the cluster has room for.

    Raises:
        ValueError: For an unknown name.
        PrerequisiteError: If Ray is not installed or no cluster is found.
    """
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    if name == "here":
        return Here(Loaded())
    from mechunlearn.audit.engines.ray import OnRay

    return OnRay(address, workers)
