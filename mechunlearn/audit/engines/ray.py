"""Cells on a Ray cluster: a worker keeps its models loaded, and this process writes the results.

Models that the audit makes are made before, in this process; workers load them from the audit's
folder, which on several machines has to be a shared one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.checkpoints import make
from mechunlearn.audit.engines.base import Finished, Job, Workers, results
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.work import Done, Group
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console

TRIES = 3
"""Workers that may be lost with one job before the audit gives up."""
OVERHEAD = 2 * 2**30
"""Bytes of a worker beside its models' weights."""


class Worker:
    """What runs on the cluster; its models stay loaded between jobs."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.load = ModelPool()

    def compute(self, setup: Setup, job: Job) -> list[Finished]:
        """Results of the job's cells."""
        return results(setup, job, self.load.with_options(setup.plan.loading))


class OnRay:
    """Workers of a Ray cluster, one task per baseline and per attack on a model."""

    def __init__(self, address: str = "auto", workers: int = 0) -> None:
        self.address, self.limit = address, workers

    @property
    def threads(self) -> int:
        """See ``Engine``."""
        return torch.get_num_threads()

    @contextmanager
    def opened(self, setup: Setup) -> Iterator[Workers]:
        """See ``Engine``."""
        with _cluster(self.address, self.limit) as ray:
            yield _Pool(ray, setup, self.limit)


class _Pool:
    """Workers that start when there is work for them."""

    def __init__(self, ray: Any, setup: Setup, limit: int) -> None:
        self.ray, self.setup = ray, setup
        threads = setup.threads
        gpus = int(ray.cluster_resources().get("GPU", 0))
        room = gpus or int(ray.cluster_resources().get("CPU", 1)) // threads
        self.free = max(1, min(room, limit or room))
        needs = {"num_gpus": 1 if gpus else 0, "num_cpus": threads, "memory": _memory(setup)}
        self.worker = ray.remote(**needs)(Worker)
        self.shared = ray.put(setup)
        self.idle: list[Any] = []

    def models(self, recipes: Sequence[Recipe]) -> None:
        """In this process, since workers may not share its disk."""
        for recipe in recipes:
            make(self.setup, recipe)

    def baselines(self, cells: Sequence[Cell], done: Done) -> None:
        self._run(cells, {c.key: c for c in cells}, done)

    def attacks(self, groups: Sequence[Group], done: Done) -> None:
        cells = {c.key: c for group in groups for c in group.cells}
        self._run(groups, cells, done)

    def _run(self, jobs: Sequence[Job], cells: dict[str, Cell], done: Done) -> None:
        ray = self.ray
        waiting = deque((job, 0) for job in jobs)
        running: dict[Any, tuple[Any, Job, int]] = {}
        while waiting or running:
            while waiting and (self.idle or self.free):
                job, lost = waiting.popleft()
                worker = self.idle.pop() if self.idle else self._started()
                running[worker.compute.remote(self.shared, job)] = worker, job, lost
            (ready,), _ = ray.wait(list(running), num_returns=1)
            worker, job, lost = running.pop(ready)
            try:
                finished = ray.get(ready)
            except ray.exceptions.RayActorError as err:
                if lost + 1 == TRIES:
                    raise
                console.print(f"[yellow]a worker was lost ({type(err).__name__})[/yellow]")
                waiting.append((job, lost + 1))
                self.free += 1
                continue
            except ray.exceptions.RayTaskError as err:
                raise err.cause from err  # What the same cell raises in this process.
            for key, *result in finished:
                done(cells[key], *result)
            self.idle.append(worker)

    def _started(self) -> Any:
        self.free -= 1
        return self.worker.remote(self.setup.threads)


@contextmanager
def _cluster(address: str, workers: int) -> Iterator[Any]:
    """A connection to the cluster, or a cluster of our own; closed afterwards."""
    try:
        import ray
    except ImportError as err:
        raise PrerequisiteError("--engine ray needs Ray: pip install 'mechunlearn[ray]'") from err
    quiet = {"log_to_driver": False, "include_dashboard": False}
    if address == "local":
        ray.init(num_cpus=workers or None, **quiet)
    else:
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as err:
            raise PrerequisiteError(
                f"there is no Ray cluster at {address!r}; start one with: ray start --head, or use "
                "--address local"
            ) from err
    try:
        yield ray
    finally:
        ray.shutdown()


def _memory(setup: Setup) -> int:
    """Bytes that Ray reserves for a worker: weights, their copies and gradients, and the rest."""
    folder = Path(setup.original.source)
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder.is_dir() else 0
    return OVERHEAD + 5 * weights
