"""What the published table would take: from configurations, before any weights are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mechunlearn.audit.outlook import Step, job_of, task_sizes
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cost.downloads import (
    Download,
    data_sets,
    known_configuration,
    model_download,
)
from mechunlearn.cost.job import Job, peak_memory
from mechunlearn.cost.memory import Shape, shape_of
from mechunlearn.models import configuration
from mechunlearn.studies.paper import ATTACKS, Suspect, kept, missing, suspects
from mechunlearn.studies.published import published
from mechunlearn.studies.published_attacks import REGISTERED, cost, needs_original
from mechunlearn.studies.published_lessons import GENERATED, MOST, SUBJECTS, Subject, lessons
from mechunlearn.tasks import task_config
from mechunlearn.types import Task


@dataclass(frozen=True, slots=True)
class PaperStep:
    """One row of the table on one model, with all of its variants."""

    model: str
    """Its label."""
    step: Step
    forwards: float
    """Of one question."""
    flops: float


@dataclass(frozen=True, slots=True)
class PaperOutlook:
    """What is still missing of a table."""

    downloads: list[Download]
    data: list[str]
    """Data sets of the task that come from the Hub."""
    steps: list[PaperStep]
    longest: int
    """Tokens of the longest prompt."""
    typical: bool
    """Whether the task's sizes are a guess, since it is not there."""


class Taught(NamedTuple):
    """How many examples there are about a subject."""

    examples: int
    asked: bool
    """Whether they are questions of the select fold."""


def paper_outlook(plan: AuditPlan, out: Path, attacks: Sequence[str] = ATTACKS) -> PaperOutlook:
    """Look ahead; loads no weights, and fetches no more than a configuration that is not here.

    Args:
        out: The table's folder; cells that are finished there are not counted.
        attacks: Rows of the table.

    Raises:
        ValueError: If the folder holds another table, or a model is no such thing.
        PrerequisiteError: If a configuration is needed from the Hub, which cannot be reached.
    """
    cells = kept(out, plan)
    task, sizes, _ = task_sizes(plan, 4 if plan.dtype == "float32" else 2)
    shapes: dict[str, Shape] = {}
    downloads, steps = [], []
    for suspect in suspects(plan):
        shape = _shape(suspect.source, plan, shapes)
        downloads.append(model_download(suspect.source, shape.parameters))
        job = job_of(task, shape, sizes)
        taught = _taught(task, job, plan)
        steps += [_step(a, suspect, job, taught, plan) for a in missing(suspect, attacks, cells)]
    config = task_config(plan.changes)
    data = data_sets(plan.task, config)
    if "finetuning" in attacks and plan.task in GENERATED and not config.data:
        data += [str(part) for part, _ in GENERATED[plan.task].values()]
    return PaperOutlook(downloads, data, steps, sizes.longest, task is None)


def _shape(source: str, plan: AuditPlan, known: dict[str, Shape]) -> Shape:
    """Of one model; equal configurations are looked at once."""
    trust = plan.trust_remote_code
    config = known_configuration(source, trust_remote_code=trust)
    if config is None:
        config = configuration(source, trust_remote_code=trust)
    key = config.to_json_string()
    if key not in known:
        known[key] = shape_of(config, trust_remote_code=trust)
    return known[key]


def _step(
    attack: str, suspect: Suspect, job: Job, taught: Mapping[Subject, Taught], plan: AuditPlan
) -> PaperStep:
    """Every variant asks the reported forget questions, the best one the retain questions too."""
    found = cost(attack, job, [t.examples for t in taught.values()], suspect.column, plan)
    forget, retain = job.forget_confirm, job.retain_confirm
    if attack not in REGISTERED:  # What it has not seen is reported too.
        learns = attack == "finetuning"
        forget += 0 if learns and taught["forget"].asked else job.forget_select
        retain += 0 if learns and taught["retain"].asked else job.retain_select
    forwards = found.search + found.variants * (found.apply + forget)
    if published("retain", attack, "rmu"):
        forwards += retain
    if needs_original(attack):  # Asked of both models: what was lost.
        forwards += 2.0 * job.forget_select
    step = Step(attack, peak_memory(found, job.shape, job.sizes))
    return PaperStep(
        suspect.label, step, forwards, 2.0 * job.shape.parameters * job.sizes.longest * forwards
    )


def _taught(task: Task | None, job: Job, plan: AuditPlan) -> dict[Subject, Taught]:
    """What finetuning trains on; published sets are not fetched for that."""
    if plan.task in GENERATED:
        return dict.fromkeys(SUBJECTS, Taught(MOST, asked=False))
    if task is None:
        return {
            "forget": Taught(job.forget_select, True),
            "retain": Taught(job.retain_select, True),
        }
    own = lessons(task, task_config(plan.changes))
    return {subject: Taught(len(found.examples), found.asked) for subject, found in own.items()}
