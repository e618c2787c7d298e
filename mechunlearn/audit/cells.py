"""A plan as cells: the pieces that are computed, stored and resumed one by one."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mechunlearn.audit.identity import (
    arithmetic,
    digest,
    model_identity,
    plain,
    task_revision,
)
from mechunlearn.audit.plan import AuditPlan, label
from mechunlearn.models import check, configuration
from mechunlearn.presets import preset_of
from mechunlearn.registry import added_version
from mechunlearn.tasks import load_task
from mechunlearn.types import Task

Kind = Literal["baseline", "attack", "control", "ceiling"]
"""``baseline``: a model's answers without any attack; ``attack``: choice of settings, confirm fold
and shams on the unlearned model; ``control`` and ``ceiling``: the chosen settings on the
never-knew model and on the original."""


@dataclass(frozen=True)
class Cell:
    """One piece of an audit; equal keys give equal results."""

    kind: Kind
    model: str
    """Its name in this audit: ``original``, ``never_knew``, ``rmu``, ``rmu control``."""
    attack: str
    inputs: Mapping[str, Any]
    """Everything that the result depends on, as plain data."""

    @cached_property
    def key(self) -> str:
        """Content hash."""
        return digest({"kind": self.kind, **self.inputs})


@dataclass(frozen=True, slots=True)
class Made:
    """A model that the audit makes by unlearning another one."""

    method: str
    source: str
    folder: Path
    lineage: Mapping[str, Any]
    """What decides its weights, as plain data."""


@dataclass(frozen=True)
class Setup:
    """A plan with its task loaded and its models found."""

    plan: AuditPlan
    task: Task
    sources: Mapping[str, str]
    """Name in this audit -> where to load it."""
    identities: Mapping[str, str]
    """Name in this audit -> what it is."""
    made: tuple[Made, ...]
    preset: str
    """The preset of settings that suits the models' size."""
    layers: int
    """Number of blocks."""
    out: Path
    """The audit's folder."""

    @property
    def unlearned(self) -> list[str]:
        """Names of the models under test."""
        return [*map(label, self.plan.unlearned), *self.plan.methods]

    def search_file(self, cell: Cell) -> Path:
        """Where an attack that can go on after an interruption keeps its search."""
        return self.out / "searches" / f"{cell.kind}-{cell.key}.json"

    def config(self, attack: str) -> Any:
        """An attack's settings."""
        return self.plan.settings("attack", attack, self.preset)

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, in an order in which they can be computed."""
        common: dict[str, Any] = {"task": task_revision(self.task), "versions": arithmetic()}
        if self.plan.dtype != "auto":
            common["dtype"] = self.plan.dtype
        found = [
            Cell("baseline", name, "", {"model": self.identities[name], **common})
            for name in self.sources
        ]
        plan = self.plan
        for name in self.unlearned:
            for attack in plan.attacks:
                config = self.config(attack)
                inputs = common | {
                    "original": self.identities["original"],
                    "unlearned": self.identities[name],
                    "attack": attack,
                    "settings": None if config is None else plain(dataclasses.asdict(config)),
                    "seed": plan.seed,
                    "retain_limit": plan.retain_limit,
                }
                if (version := added_version("attack", attack)) is not None:
                    inputs["registered"] = version
                found.append(Cell("attack", name, attack, inputs))
                if control := self.identities.get(f"{name} control"):
                    found.append(Cell("control", name, attack, {**inputs, "control": control}))
                found.append(Cell("ceiling", name, attack, inputs))
        return found


def set_up(plan: AuditPlan, out: Path) -> Setup:
    """Load the plan's task and find its models; loads and computes nothing heavy.

    Args:
        out: The audit's folder; models that it makes go to ``out/models``.

    Raises:
        ValueError: If a model or task is unusable, or the models' vocabularies differ.
        PrerequisiteError: If a download is needed that is not there.
    """
    task = load_task(plan.task or None, plan.original, plan.task_config)
    control = plan.control_model
    words = check(plan.original)
    for other in (control, *plan.unlearned):
        if other and check(other, plan.original) != words:
            raise ValueError(
                f"{other} and {plan.original} have different vocabularies; only models of one "
                "family can be compared"
            )
    given = {"original": plan.original} | ({"never_knew": control} if control else {})
    given |= {label(u): u for u in plan.unlearned}
    identities = {
        name: model_identity(source, plan.original if source != plan.original else "")
        for name, source in given.items()
    }
    shape = configuration(plan.original)
    preset = preset_of(shape.hidden_size)
    unlearned = {label(u): u for u in plan.unlearned}
    controls = {f"{name} control": control for name in unlearned if control}
    made = []
    for method in plan.methods:
        for role, source, suffix in (
            ("original", plan.original, ""),
            ("never_knew", control, "-never_knew"),
        ):
            if source is None:
                continue
            lineage = _lineage(plan, method, preset, identities[role], task)
            folder = out / "models" / f"{method}{suffix}"
            made.append(Made(method, source, folder, lineage))
            name = f"{method} control" if suffix else method
            (controls if suffix else unlearned)[name] = str(folder)
            identities[name] = digest(lineage)
    for name in controls:
        identities.setdefault(name, identities["never_knew"])
    layers = shape.num_hidden_layers
    sources = {k: v for k, v in given.items() if k in ("original", "never_knew")}
    return Setup(
        plan, task, sources | unlearned | controls, identities, tuple(made), preset, layers, out
    )


def _lineage(plan: AuditPlan, method: str, preset: str, source: str, task: Task) -> dict[str, Any]:
    config = plan.settings("method", method, preset)
    dtype = {} if plan.dtype == "auto" else {"dtype": plan.dtype}
    version = added_version("method", method)
    return {
        **dtype,
        **({} if version is None else {"registered": version}),
        "method": method,
        "settings": plain(dataclasses.asdict(config)),
        "source": source,
        "task": task_revision(task),
        "versions": arithmetic(),
    }
