"""What an audit would need, said before anything is downloaded: files, and memory per attack."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mechunlearn.attacks.grades import grade, shows
from mechunlearn.audit.cells import Setup
from mechunlearn.audit.labels import split_label
from mechunlearn.audit.plan import AuditPlan, Resolved
from mechunlearn.cost.downloads import (
    Download,
    data_sets,
    known_configuration,
    local_base,
    model_download,
)
from mechunlearn.cost.job import Cost, Job, peak_memory
from mechunlearn.cost.memory import Memory, Shape, Sizes, shape_of, sizes_of
from mechunlearn.cost.training import Corpora
from mechunlearn.errors import PrerequisiteError
from mechunlearn.models import experts_of
from mechunlearn.models.placement import FLOATS
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.presets import size_of
from mechunlearn.registry import find, names
from mechunlearn.tasks import load_task, task_config
from mechunlearn.types import Fold, Role, Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.costs import corpora_of, method_cost

CARDS = (24, 80)
"""GB of the GPUs that are considered."""
SPARE = 0.9
"""Share of a GPU's memory that a process can count on."""
TYPICAL = (512, 1000, 400)
"""Tokens of the longest prompt, questions of the largest set and forget questions of the select
fold, where the task cannot be read yet."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.0, "4bit": 0.6}
"""Of a weight, constants of the quantisation included."""


@dataclass(frozen=True, slots=True)
class Step:
    """One attack on one model on a GPU, or the making of one."""

    attack: str
    """``baseline``: none; or an unlearning method."""
    memory: Memory
    steps: int = 0
    """Of a method's training."""

    def fits(self, card: int) -> bool:
        """Whether a GPU of ``card`` GB holds it."""
        return self.memory.total <= SPARE * card * 1e9


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an audit from its plan, configuration files and what is on this machine."""

    downloads: list[Download]
    steps: list[Step]
    """Empty where nothing is known of the models."""
    parameters: int
    sizes: Sizes | None
    typical: bool
    """Whether ``sizes`` are a guess, since the task is not there."""
    data: list[str]
    """Data sets of the task that come from the Hub."""
    left_out: tuple[str, ...] = ()
    """Attacks of the plan that will not run, since they can show nothing here."""


def needed_models(plan: AuditPlan) -> list[str]:
    """Every model that an audit loads, and what an adapter among them is merged into."""
    named = (split_label(model)[1] for model in plan.unlearned)
    given = (plan.original, *named, *plan.control_models)
    both = (n for name in given for n in (name, local_base(name)))
    return list(dict.fromkeys(n for n in both if n is not None))


def outlook(plan: AuditPlan) -> Outlook:
    """Look ahead; needs no network, loads no weights and computes nothing."""
    trust = plan.trust_remote_code
    config = known_configuration(plan.original, trust_remote_code=trust)
    shape = None if config is None else shape_of(config, trust_remote_code=trust)
    parameters = None if shape is None else shape.parameters
    files = [model_download(name, parameters) for name in needed_models(plan)]
    data = data_sets(plan.task, task_config(plan.changes))
    if shape is None:
        return Outlook(files, [], 0, None, False, data)
    dtype = plan.dtype if plan.dtype != "auto" else "bfloat16"
    task, sizes, corpora = task_sizes(plan, 4 if dtype == "float32" else 2)
    resolved, job = plan.resolved(size_of(shape.d_model)), job_of(task, shape, sizes)
    attacks = _attacks(resolved, task, experts_of(config.get_text_config()))
    steps = [*_steps(resolved, attacks, job, dtype), *_makings(resolved, job, corpora)]
    left_out = tuple(a for a in plan.attacks if a not in attacks)
    return Outlook(files, steps, shape.parameters, sizes, task is None, data, left_out)


def job_of(task: Task | None, shape: Shape, sizes: Sizes) -> Job:
    """What costs depend on; without a task its sets are taken to be as large as ``sizes`` says."""
    if task is None:
        return Job(shape, sizes, *(sizes.selected, sizes.questions) * 2)
    counts = [len(task.questions(r, f)) for r in get_args(Role) for f in get_args(Fold)]
    return Job(shape, sizes, *counts)


def _attacks(resolved: Resolved, task: Task | None, experts: int) -> tuple[str, ...]:
    """The attacks that will run; where the task is not here, as far as that can be told.

    Args:
        experts: Of a block.
    """
    plan = resolved.plan
    if task is not None:
        return Setup(resolved, task, (), 0, 0, Path(), experts).attacks
    if plan.attacks not in (plan.standard, names("attack")):
        return plan.attacks
    twins = resolved.task.twins not in ("", "none")  # No set of the Hub brings any along.
    alone = plan.attacks == plan.standard and not plan.control_models and not twins
    able = [
        (name, find("attack", name))
        for name in plan.attacks
        if not alone or shows(grade(find("attack", name)), "C")
    ]
    return tuple(a for a, e in able if not experts or not e.by_name(resolved.attacks[a]))


def _steps(resolved: Resolved, attacks: tuple[str, ...], job: Job, dtype: str) -> Iterator[Step]:
    costs = {"baseline": Cost()}
    costs |= {a: find("attack", a).cost(resolved.attacks[a], job) for a in attacks}
    for name, cost in costs.items():
        memory = peak_memory(cost, job.shape, job.sizes)
        if dtype not in FLOATS:
            weights = BYTES[dtype] * job.shape.parameters
            memory = Memory({**memory.parts, "weights": weights})
        yield Step(name, memory)


def _makings(resolved: Resolved, job: Job, corpora: Corpora) -> Iterator[Step]:
    """Methods that say what they cost; of the original and of its controls it is the same."""
    for name, config in resolved.methods.items():
        if isinstance(config, Settings):
            cost = method_cost(config, job, corpora)
            memory = peak_memory(cost, job.shape, job.sizes)
            yield Step(name, memory, config.optimizer.steps)


def task_sizes(plan: AuditPlan, number: int) -> tuple[Task | None, Sizes, Corpora]:
    """The task of a plan, its sizes on a GPU and what methods train on; typical ones without it.

    Args:
        number: Bytes of a number in the model's weights.
    """
    try:
        trust, name = plan.trust_remote_code, plan.task or None
        config = task_config(plan.changes)
        task = load_task(name, plan.original, config, trust_remote_code=trust)
        tokenizer = load_tokenizer(plan.original, trust_remote_code=trust)
        corpora = corpora_of(task, tokenizer) if plan.methods else {}
        return task, sizes_of(task, tokenizer, ("cuda", number)), corpora
    except (ValueError, PrerequisiteError):
        return None, Sizes(*TYPICAL, "cuda", number), {}
