"""Cells and models in several processes of this machine; this process alone writes results.

Every worker keeps its models loaded, and ends with the process that started it.
"""

import gc
import io
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
from mechunlearn.audit.estimate import amounts
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import Result
from mechunlearn.audit.work import Done, Group
from mechunlearn.cost.downloads import model_download
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import WIDE, console

SMALL = 64e6
"""Bytes of a model's file up to which threads that share a product mostly wait for each other."""
MOST = 4
"""Processes at most where nobody asks for a number: an audit has about ten jobs, of unlike size."""


def fitting(plan: AuditPlan) -> int:
    """Processes in which a plan is carried out soonest; 1: this one, with all threads.

    Several where models are small and on the CPU, no more than PyTorch has threads.
    """
    cpu = plan.device == "cpu" or (plan.device == "auto" and not torch.cuda.is_available())
    if plan.threads or not cpu:
        return 1
    size = model_download(plan.original, None).bytes
    return 1 if size is None or size > SMALL else min(torch.get_num_threads(), MOST)


class Processes:
    """Some processes, each with its share of the threads and one job at a time.

    Args:
        workers: At most; fewer where their threads would be more than the machine's.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @property
    def threads(self) -> int:
        """See ``Engine``."""
        return max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // self.workers))

    @contextmanager
    def opened(self, setup: Setup) -> Iterator[Workers]:
        """See ``Engine``."""
        room = max(1, (os.cpu_count() or 1) // setup.threads)
        pool = _Pool(setup, min(self.workers, room))
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
        # A long one that is left over would keep the others waiting.
        cells = {c.key: c for g in groups for c in g.cells}
        longest = sorted(groups, key=lambda g: -sum(amounts(self.setup, g.cells)))
        self._run(longest, cells, done)

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.join()
        for pipe in self.idle:
            pipe.close()

    def _run(self, jobs: Sequence[Job], cells: dict[str, Cell], done: Done) -> None:
        waiting = deque(jobs)
        busy: dict[Connection, Job] = {}
        while waiting or busy:
            while waiting and (self.idle or len(self.processes) < self.size):
                free = self.idle.pop() if self.idle else self._started()
                busy[free] = waiting.popleft()
                free.send(busy[free])
            for pipe in wait(list(busy)):
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
                if isinstance(answer, str):
                    _tell(answer, busy[pipe])
                    continue
                for key, *result in answer:
                    done(cells[key], *result)
                del busy[pipe]
                self.idle.append(pipe)

    def _started(self) -> Connection:
        context = get_context("spawn")  # Threads of this process would not survive a fork.
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self.setup), daemon=True)
        process.start()
        there.close()  # The worker's end is open in the worker alone, so that its loss shows.
        self.processes.append(process)
        return here


class _Notes(io.TextIOBase):
    """What a worker says, line by line, to the process that started it."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.begun = pipe, ""

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            self.pipe.send(line)
        return len(text)


def _tell(line: str, job: Job) -> None:
    """A worker's line, with the model that it is about, since those of two would look alike."""
    model = job.source if isinstance(job, Recipe) else job.model
    told = line if model in line else f"{model}: {line}"
    console.print(told, style="dim", markup=False, highlight=False)


def _ignored(cell: Cell, result: Result, seconds: float) -> None:
    """Models are written where they are made."""


def _work(pipe: Connection, setup: Setup) -> None:
    """Jobs until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The process that started it stops it.
    torch.set_num_threads(setup.threads)
    gc.freeze()  # Loading a model collects garbage; the imported libraries are none.
    console.file, console.width = _Notes(pipe), WIDE  # type: ignore[assignment]
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
