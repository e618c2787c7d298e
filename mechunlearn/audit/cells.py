"""A plan as cells: the pieces that are computed, stored and resumed one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mechunlearn.audit.identity import arithmetic, digest, model_identity, task_revision
from mechunlearn.audit.labels import free_label, tail
from mechunlearn.audit.plan import AuditPlan, Resolved
from mechunlearn.audit.records import Kind, ModelRole
from mechunlearn.models import check, configuration
from mechunlearn.models.tokenizer import compare_vocabularies
from mechunlearn.presets import size_of
from mechunlearn.records import Plain, plain
from mechunlearn.registry import DEFAULT_ATTACKS, added_version, find
from mechunlearn.tasks import load_task
from mechunlearn.types import Task


@dataclass(frozen=True)
class Cell:
    """One piece of an audit; equal keys give equal results."""

    kind: Kind
    model: str
    """Label of the model; of an attack's cells the unlearned model's."""
    attack: str
    inputs: Mapping[str, Plain]
    """Everything that the result depends on, as plain data."""

    @cached_property
    def key(self) -> str:
        """Content hash."""
        return digest({"kind": self.kind, **self.inputs})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model that the audit makes by unlearning another one."""

    method: str
    source: str
    folder: Path
    lineage: Mapping[str, Plain]
    """What decides its weights, as plain data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of an audit."""

    label: str
    role: ModelRole
    source: str
    """Where it is loaded from."""
    identity: str
    """Hash of its weights, or of what decides them."""
    recipe: Recipe | None = None
    """How the audit makes it, if it does."""
    control: str | None = None
    """Of an unlearned model: label of the model it is compared with."""


@dataclass(frozen=True)
class Setup:
    """A plan with its task loaded and its models found."""

    resolved: Resolved
    task: Task
    entries: tuple[Entry, ...]
    layers: int
    """Number of blocks."""
    threads: int
    """Of the arithmetic; the last digits depend on it."""
    out: Path
    """The audit's folder."""

    @property
    def plan(self) -> AuditPlan:
        """What was asked for."""
        return self.resolved.plan

    @property
    def original(self) -> Entry:
        """The model before unlearning."""
        return next(e for e in self.entries if e.role == "original")

    @property
    def never_knew(self) -> Entry | None:
        """The never-knew model as it was given."""
        return next((e for e in self.entries if e.role == "never_knew"), None)

    @property
    def unlearned(self) -> tuple[Entry, ...]:
        """The models under test."""
        return tuple(e for e in self.entries if e.role == "unlearned")

    def entry(self, label: str) -> Entry:
        """A model by label."""
        return next(e for e in self.entries if e.label == label)

    def control(self, label: str) -> Entry | None:
        """What an unlearned model is compared with."""
        control = self.entry(label).control
        return None if control is None else self.entry(control)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Models to make."""
        return tuple(e.recipe for e in self.entries if e.recipe is not None)

    def search_file(self, cell: Cell) -> Path:
        """Where an attack that can go on after an interruption keeps its search."""
        return self.out / "searches" / f"{cell.kind}-{cell.key}.json"

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """The plan's attacks; of the standard ones those that the measure allows."""
        given = self.plan.attacks
        if given != DEFAULT_ATTACKS or not find("measure", self.task.scoring).generates:
            return given
        return tuple(a for a in given if find("attack", a).family != "read-out")

    def config(self, attack: str) -> Any:
        """An attack's settings."""
        return self.resolved.attacks[attack]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in an order in which they can be computed."""
        return (*self._baselines(), *self._attacks())

    @cached_property
    def _common(self) -> dict[str, Plain]:
        return {
            "task": task_revision(self.task),
            "versions": arithmetic(),
            "threads": self.threads,
            "dtype": self.plan.dtype,
        }

    def _baselines(self) -> Iterator[Cell]:
        for entry in self.entries:
            inputs = {"model": entry.identity, "guessing": entry.role == "original"}
            yield Cell("baseline", entry.label, "", inputs | self._common)

    def _attacks(self) -> Iterator[Cell]:
        for entry in self.unlearned:
            control = self.control(entry.label)
            for attack in self.attacks:
                inputs = self._common | {
                    "original": self.original.identity,
                    "unlearned": entry.identity,
                    "attack": attack,
                    "settings": plain(self.config(attack)),
                    "seed": self.plan.seed,
                    "retain_limit": self.plan.retain_limit,
                    "registered": added_version("attack", attack),
                }
                yield Cell("attack", entry.label, attack, inputs)
                if control is not None:
                    about = inputs | {"control": control.identity}
                    yield Cell("control", entry.label, attack, about)
                yield Cell("ceiling", entry.label, attack, inputs)


def set_up(plan: AuditPlan, out: Path, threads: int) -> Setup:
    """Load the plan's task and find its models; loads and computes nothing heavy.

    Args:
        out: The audit's folder; models that it makes go to ``out/models``.
        threads: Of the arithmetic.

    Raises:
        ValueError: If a model or task is unusable, or the models' vocabularies differ.
        PrerequisiteError: If a download is needed that is not there.
    """
    trust = plan.trust_remote_code
    words = check(plan.original, trust_remote_code=trust)
    given = [v for k, v in plan.labels.items() if k not in plan.methods]
    for other in (plan.control_model, *given):
        if other:
            own = check(other, plan.original, trust_remote_code=trust)
            compare_vocabularies(other, own, plan.original, words)
    shape = configuration(plan.original, trust_remote_code=trust)
    resolved = plan.resolved(size_of(shape.hidden_size))
    task = load_task(plan.task or None, plan.original, resolved.task)
    entries = tuple(_entries(resolved, task, out, threads))
    return Setup(resolved, task, entries, shape.num_hidden_layers, threads, out)


def _entries(resolved: Resolved, task: Task, out: Path, threads: int) -> Iterator[Entry]:
    """All models: original, never-knew, the models under test, and the controls made for them."""
    plan = resolved.plan
    labels = plan.labels
    original = Entry(
        free_label(tail(plan.original), [*labels], "original"),
        "original",
        plan.original,
        model_identity(plan.original),
    )
    yield original
    twin = None
    if plan.control_model:
        taken = [*labels, original.label]
        twin = Entry(
            free_label(tail(plan.control_model), taken, "never-knew"),
            "never_knew",
            plan.control_model,
            model_identity(plan.control_model, plan.original),
        )
        yield twin
    controls = []
    for label, source in labels.items():
        if source not in plan.methods:
            identity = model_identity(source, plan.original)
            known = None if twin is None else twin.label
            yield Entry(label, "unlearned", source, identity, control=known)
            continue
        control = None
        if twin is not None:
            control = free_label(f"{label} control", [*labels, twin.label], "made")
            made = _recipe(resolved, source, twin, "-never_knew", task, out, threads)
            identity = digest(dict(made.lineage))
            controls.append(Entry(control, "control", str(made.folder), identity, made))
        made = _recipe(resolved, source, original, "", task, out, threads)
        yield Entry(label, "unlearned", str(made.folder), digest(dict(made.lineage)), made, control)
    yield from controls


def _recipe(
    resolved: Resolved,
    method: str,
    source: Entry,
    suffix: str,
    task: Task,
    out: Path,
    threads: int,
) -> Recipe:
    lineage = {
        "method": method,
        "settings": plain(resolved.methods[method]),
        "registered": added_version("method", method),
        "source": source.identity,
        "dtype": resolved.plan.dtype,
        "task": task_revision(task),
        "versions": arithmetic(),
        "threads": threads,
    }
    return Recipe(method, source.source, out / "models" / f"{method}{suffix}", lineage)
