"""Cells and models in several processes of this machine; this process alone writes results.

Every worker keeps its models loaded, and ends with the process that started it.
"""

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from mechunlearn.audit.cells import Cell, Made, Setup
from mechunlearn.audit.compute import Done, Group
from mechunlearn.audit.engines import Job, results
from mechunlearn.audit.loaded import Loaded
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console


class Processes:
    """Some processes, each with its share of the threads and one job at a time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def models(self, setup: Setup, made: Sequence[Made]) -> None:
        """See ``Engine``."""
        self._run(setup, made, {}, _ignored)

    def baselines(self, setup: Setup, cells: Sequence[Cell], done: Done) -> None:
        """See ``Engine``."""
        self._run(setup, cells, {c.key: c for c in cells}, done)

    def attacks(self, setup: Setup, groups: Sequence[Group], done: Done) -> None:
        """See ``Engine``."""
        self._run(setup, groups, {c.key: c for g in groups for c in g.missing.values()}, done)

    def _run(self, setup: Setup, jobs: Sequence[Job], cells: dict[str, Cell], done: Done) -> None:
        waiting = deque(jobs)
        with _started(setup, min(self.workers, len(jobs))) as idle:
            busy: list[Connection] = []
            while waiting or busy:
                while waiting and idle:
                    busy.append(idle.pop())
                    busy[-1].send(waiting.popleft())
                for pipe in wait(busy):
                    assert isinstance(pipe, Connection)
                    try:
                        found = pipe.recv()
                    except (EOFError, ConnectionError) as err:
                        raise PrerequisiteError(
                            "a worker was lost, perhaps for lack of memory; the same command goes "
                            "on, with fewer --workers if need be"
                        ) from err
                    if isinstance(found, Exception):
                        raise found  # What the same job raises in this process.
                    for key, result in found:
                        done(cells[key], result)
                    busy.remove(pipe)
                    idle.append(pipe)


def _ignored(cell: Cell, result: dict[str, Any]) -> None:
    """Models are written where they are made."""


@contextmanager
def _started(setup: Setup, workers: int) -> Iterator[list[Connection]]:
    """Pipes to so many workers, which end with the context."""
    import torch

    threads = max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // max(1, workers)))
    context = get_context("spawn")  # Threads of this process would not survive a fork.
    pipes, processes = [], []
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, setup, threads), daemon=True)
            process.start()
            there.close()  # The worker's end is open in the worker alone, so that its loss shows.
            pipes.append(here)
            processes.append(process)
        yield list(pipes)
    finally:
        for process in processes:
            process.terminate()
            process.join()
        for pipe in pipes:
            pipe.close()


def _work(pipe: Connection, setup: Setup, threads: int) -> None:
    """Jobs until the other end closes."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The process that started it stops it.
    torch.set_num_threads(threads)
    console.quiet = True
    load = Loaded().like(setup.plan.loading)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            found: Any = results(setup, job, load)
        except Exception as err:
            found = err
        pipe.send(found)
