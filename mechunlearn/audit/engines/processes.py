"""Cells and models in several processes of this machine; this process alone writes results.

Every worker keeps its models loaded, and ends with the process that started it.
"""

import gc
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.engines.base import Finished, Job, Workers, results
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import Result
from mechunlearn.audit.work import Done, Group
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console


class Processes:
    """Some processes, each with its share of the threads and one job at a time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @property
    def threads(self) -> int:
        """See ``Engine``."""
        return max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // self.workers))

    @contextmanager
    def opened(self, setup: Setup) -> Iterator[Workers]:
        """See ``Engine``."""
        pool = _Pool(setup, self.workers)
        try:
            yield pool
        finally:
            pool.close()


class _Pool:
    """Processes that start when there is work for them."""

    def __init__(self, setup: Setup, size: int) -> None:
        self.setup, self.size = setup, size
        self.processes: list[SpawnProcess] = []
        self.idle: list[Connection] = []

    def models(self, recipes: Sequence[Recipe]) -> None:
        self._run(recipes, {}, _ignored)

    def baselines(self, cells: Sequence[Cell], done: Done) -> None:
        self._run(cells, {c.key: c for c in cells}, done)

    def attacks(self, groups: Sequence[Group], done: Done) -> None:
        # The last ones listed take longest: one of them left over would keep the others waiting.
        cells = {c.key: c for g in groups for c in g.cells}
        self._run(groups[::-1], cells, done)

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.join()
        for pipe in self.idle:
            pipe.close()

    def _run(self, jobs: Sequence[Job], cells: dict[str, Cell], done: Done) -> None:
        waiting = deque(jobs)
        busy: list[Connection] = []
        while waiting or busy:
            while waiting and (self.idle or len(self.processes) < self.size):
                busy.append(self.idle.pop() if self.idle else self._started())
                busy[-1].send(waiting.popleft())
            for pipe in wait(busy):
                assert isinstance(pipe, Connection)
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionError) as err:
                    raise PrerequisiteError(
                        "a worker was lost, perhaps for lack of memory; the same command goes on, "
                        "with fewer --workers if need be"
                    ) from err
                if isinstance(answer, Exception):
                    raise answer  # What the same job raises in this process.
                for key, *result in answer:
                    done(cells[key], *result)
                busy.remove(pipe)
                self.idle.append(pipe)

    def _started(self) -> Connection:
        context = get_context("spawn")  # Threads of this process would not survive a fork.
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self.setup), daemon=True)
        process.start()
        there.close()  # The worker's end is open in the worker alone, so that its loss shows.
        self.processes.append(process)
        return here


def _ignored(cell: Cell, result: Result, seconds: float) -> None:
    """Models are written where they are made."""


def _work(pipe: Connection, setup: Setup) -> None:
    """Jobs until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The process that started it stops it.
    torch.set_num_threads(setup.threads)
    gc.freeze()  # Loading a model collects garbage; the imported libraries are none.
    console.quiet = True
    load = ModelPool().with_options(setup.plan.loading)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer: list[Finished] | Exception = results(setup, job, load)
        except Exception as err:
            answer = err
        pipe.send(answer)
