"""What an audit's making of models will take: time, and memory against what is free here."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mechunlearn.audit.cells import Setup
from mechunlearn.audit.checkpoints import is_made
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cost.job import Cost, Job, peak_memory
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.cost.speed import Speed
from mechunlearn.environment import free_memory
from mechunlearn.models import configuration
from mechunlearn.models.placement import placement
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.costs import corpora_of, method_cost


@dataclass(frozen=True, slots=True)
class Making:
    """The cost of one model that an audit makes."""

    label: str
    method: str
    steps: int
    flops: float
    seconds: float
    memory: float
    """Peak bytes."""
    free: float
    """Bytes that are free where it would be made; infinite where nobody says."""

    @property
    def fits(self) -> bool:
        """Whether the peak is less than what is free."""
        return self.memory <= self.free

    @property
    def summary(self) -> Mapping[str, str | float | None]:
        """As plain data."""
        return {
            "kind": "making",
            "model": self.label,
            "method": self.method,
            "steps": self.steps,
            "seconds": self.seconds,
            "flops": self.flops,
            "memory": self.memory,
            "free": None if self.free == float("inf") else self.free,
        }


def free_for(plan: AuditPlan) -> float:
    """Bytes that are free where a plan's models are put; over all GPUs with ``map``.

    Raises:
        ValueError: For an unknown format or device.
        PrerequisiteError: If a GPU or package is needed that is not there.
    """
    where, device = placement(plan.device, plan.dtype)
    if device is not None:
        return free_memory(device)
    if plan.device == "map":
        return sum(free_memory(f"cuda:{i}") for i in range(torch.cuda.device_count()))
    return free_memory(str(where["device_map"][""]))


def makings(setup: Setup, speed: Speed, free: float) -> list[Making]:
    """The models that are still to be made; a method that says no cost has no row.

    Args:
        free: Bytes; see ``free_for``.
    """
    configs = setup.resolved.methods
    missing = [
        (entry.label, entry.recipe.method, config)
        for entry in setup.entries
        if entry.recipe is not None and not is_made(entry.recipe)
        if isinstance(config := configs[entry.recipe.method], Settings)
    ]
    if not missing:
        return []
    original, trust = setup.plan.original, setup.plan.trust_remote_code
    tokenizer = load_tokenizer(original, trust_remote_code=trust)
    sizes = sizes_of(setup.task, tokenizer, (speed.device, speed.number))
    shape = shape_of(configuration(original, trust_remote_code=trust), trust_remote_code=trust)
    job, corpora = job_of(setup.task, shape, sizes), corpora_of(setup.task, tokenizer)
    return [
        _making(label, method, config, method_cost(config, job, corpora), job, speed, free)
        for label, method, config in missing
    ]


def _making(
    label: str, method: str, config: Settings, cost: Cost, job: Job, speed: Speed, free: float
) -> Making:
    flops = speed.per_question * cost.search
    return Making(
        label,
        method,
        config.optimizer.steps,
        flops,
        flops / speed.flops,
        peak_memory(cost, job.shape, job.sizes).total,
        free,
    )
