"""What an audit will cost before it starts, from the plan and a few seconds of real forwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mechunlearn.attacks.grades import GRADES, grade
from mechunlearn.audit.also import further
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.records import Kind
from mechunlearn.audit.work import SHAMS
from mechunlearn.bench import score
from mechunlearn.cost.job import Cost, Job, peak_memory
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.cost.speed import Speed, speed_of
from mechunlearn.errors import BudgetError
from mechunlearn.models import configuration, load
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.registry import find

CALIBRATION = 64
"""Questions that are timed."""
MEASURED = 3
"""Variants whose loss on the retain questions is looked at, on average."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One cell's cost."""

    cell: Cell
    flops: float
    seconds: float
    memory: float
    """Peak bytes."""
    conditional: bool = False
    """Whether it is computed only where a verdict depends on it: a positive control's."""

    @property
    def summary(self) -> Mapping[str, str | float]:
        """As plain data."""
        return {
            "kind": self.cell.kind,
            "model": self.cell.model,
            "attack": self.cell.attack,
            "seconds": self.seconds,
            "flops": self.flops,
            "memory": self.memory,
            "conditional": self.conditional,
        }


def calibrate(setup: Setup) -> Speed:
    """Time real forwards of the original over select-fold questions."""
    plan = setup.plan
    model = load(plan.original, **plan.loading)
    questions = setup.task.questions("forget", "select")[:CALIBRATION]
    task, beside = setup.task, None
    if task.also or task.samples:
        beside = partial(further, model, task, {"forget": questions}, plan.seed)
    return speed_of(model, lambda: score(model, questions, task), len(questions), beside)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the cells of an audit have to compute."""

    job: Job
    costs: Mapping[str, Cost]
    """By attack."""
    extra: int
    """Questions of the task's further sets."""

    @classmethod
    def of(cls, setup: Setup, device: str, number: int) -> "_Work":
        """Of the whole audit, on a device, in numbers of so many bytes."""
        original, trust = setup.plan.original, setup.plan.trust_remote_code
        tokenizer = load_tokenizer(original, trust_remote_code=trust)
        sizes = sizes_of(setup.task, tokenizer, (device, number))
        config = configuration(original, trust_remote_code=trust)
        job = job_of(setup.task, shape_of(config, trust_remote_code=trust), sizes)
        costs = {a: find("attack", a).cost(setup.config(a), job) for a in setup.attacks}
        return cls(job, {"": Cost(), **costs}, sum(map(len, setup.task.extra.values())))

    def forwards(self, cell: Cell, further: float) -> float:
        """Question forwards that a cell is worth.

        Args:
            further: What a question's further measures are worth.
        """
        own = forwards(cell.kind, self.costs[cell.attack], self.job, self.extra)
        return own + further * reported(cell.kind, self.job)

    def memory(self, cell: Cell) -> float:
        """Peak bytes."""
        return peak_memory(self.costs[cell.attack], self.job.shape, self.job.sizes).total


def estimates(setup: Setup, cells: Sequence[Cell], speed: Speed) -> list[Estimate]:
    """The cost of each cell on this machine."""
    work = _Work.of(setup, speed.device, speed.number)
    planted = {e.label for e in setup.planted} if setup.plan.planted == "auto" else set()
    return [
        Estimate(
            cell,
            flops=(flops := speed.per_question * work.forwards(cell, speed.further)),
            seconds=flops / speed.flops,
            memory=work.memory(cell),
            conditional=cell.model in planted,
        )
        for cell in cells
    ]


def amounts(setup: Setup, cells: Sequence[Cell]) -> list[float]:
    """How much work each cell is, in question forwards: for a progress bar, without any timing."""
    work = _Work.of(setup, "cpu", 4)
    return [work.forwards(cell, len(setup.task.also) + setup.task.samples) for cell in cells]


def forwards(kind: Kind, cost: Cost, job: Job, extra: int) -> float:
    """Question forwards that a cell is worth.

    Args:
        cost: Of its attack.
        extra: Questions of the task's further sets.
    """
    every = job.forget_select + job.forget_confirm + job.retain_select + job.retain_confirm
    once = cost.apply + job.forget_confirm
    if kind == "baseline":
        return float(every + job.forget_confirm + extra)
    if kind == "ceiling":
        return once
    if kind == "control":
        return cost.search + once
    chosen = (2 + SHAMS) * once + job.retain_confirm  # Once more with the questions hidden.
    tried = cost.variants * job.forget_select + MEASURED * job.retain_select
    return cost.search + tried + chosen


def reported(kind: Kind, job: Job) -> int:
    """Questions that a cell asks by the task's further measures too."""
    if kind == "baseline":
        return 2 * job.forget_confirm + job.forget_select
    return job.forget_confirm * (2 + SHAMS if kind == "attack" else 1)


def by_worth(setup: Setup) -> Iterator[tuple[str, str]]:
    """Labels of unlearned models and attacks, the most informative first.

    The strongest grade of evidence comes first, then the plan's order of attacks; within an attack
    every model, so that a stopped audit compares all of them.
    """
    attacks = sorted(setup.attacks, key=lambda a: GRADES.index(grade(find("attack", a))))
    for attack in attacks:
        for entry in (*setup.unlearned, *setup.planted):
            yield entry.label, attack


def affordable(setup: Setup, costs: Sequence[Estimate], seconds: float) -> list[Cell]:
    """Baselines, and as many whole attacks as fit into the time.

    An attack without its control and its ceiling says nothing, so it counts with them.

    Raises:
        BudgetError: If not even one fits.
    """
    kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
    of: dict[tuple[Kind, str, str], list[Estimate]] = {}
    for e in costs:
        of.setdefault((e.cell.kind, e.cell.model, e.cell.attack), []).append(e)
    baselines = [e for e in costs if e.cell.kind == "baseline"]
    left = seconds - sum(e.seconds for e in baselines)
    chosen = [e.cell for e in baselines]
    prices = []
    for label, attack in by_worth(setup):
        arms = [e for kind in kinds for e in of.get((kind, label, attack), [])]
        price = sum(e.seconds for e in arms)
        prices.append(price)
        if arms and price <= left:
            left -= price
            chosen += [e.cell for e in arms]
    if costs and len(chosen) == len(baselines) and len(costs) > len(baselines):
        raise BudgetError(
            f"a budget of {seconds:.0f} s holds no attack: baselines and the cheapest attack need "
            f"about {seconds - left + min(p for p in prices if p):.0f} s; raise --budget"
        )
    return chosen
