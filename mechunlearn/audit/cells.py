"""A plan as cells: the pieces that are computed, stored and resumed one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mechunlearn.attacks.grades import fitting, usable
from mechunlearn.audit.entries import Entry, Making, Recipe, entries_of, planted_entries
from mechunlearn.audit.plan import AuditPlan, Resolved
from mechunlearn.audit.records import Kind
from mechunlearn.models import check, configuration, experts_of
from mechunlearn.models.identity import (
    added_measures,
    arithmetic,
    content_identity,
    digest,
    task_revision,
    texts_in,
)
from mechunlearn.models.tokenizer import compare_tokenizers
from mechunlearn.presets import size_of
from mechunlearn.records import Plain, plain
from mechunlearn.registry import added_version, find, names
from mechunlearn.tasks import load_task
from mechunlearn.types import Question, Task


@dataclass(frozen=True)
class Cell:
    """One piece of an audit; equal keys give equal results."""

    kind: Kind
    model: str
    """Label of the model; of an attack's cells the unlearned model's."""
    attack: str
    inputs: Mapping[str, Plain]
    """Everything that the result depends on, as plain data."""
    further: str = ""
    """Of a control's cell: label of the control, if it is not the first one."""

    @cached_property
    def key(self) -> str:
        """Content hash."""
        return digest({"kind": self.kind, **self.inputs})


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
    experts: int = 0
    """Of a block, where the original is a mixture."""

    @property
    def plan(self) -> AuditPlan:
        """What was asked for."""
        return self.resolved.plan

    @property
    def original(self) -> Entry:
        """The model before unlearning."""
        return next(e for e in self.entries if e.role == "original")

    @property
    def never_knew(self) -> tuple[Entry, ...]:
        """The never-knew models as they were given."""
        return tuple(e for e in self.entries if e.role == "never_knew")

    @property
    def unlearned(self) -> tuple[Entry, ...]:
        """The models under test."""
        return tuple(e for e in self.entries if e.role == "unlearned")

    @property
    def planted(self) -> tuple[Entry, ...]:
        """The positive controls: the original, with its knowledge hidden."""
        return tuple(e for e in self.entries if e.role == "planted")

    def entry(self, label: str) -> Entry:
        """A model by label."""
        return next(e for e in self.entries if e.label == label)

    def control(self, label: str) -> Entry | None:
        """What an unlearned model is compared with."""
        control = self.entry(label).control
        return None if control is None else self.entry(control)

    def twins(self, label: str) -> tuple[Question, ...]:
        """Questions that nobody can know, asked of a model that is attacked and has no control.

        At most as many as there are questions of the confirm fold. A planted model is asked them
        too: it has to be found against what the model under test is compared with.
        """
        entry = self.entry(label)
        if entry.role not in ("unlearned", "planted") or entry.control is not None:
            return ()
        return self.task.twins[: len(self.task.questions("forget", "confirm"))]

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Models to make."""
        return tuple(e.recipe for e in self.entries if e.recipe is not None)

    def search_file(self, cell: Cell) -> Path:
        """Where an attack that can go on after an interruption keeps its search."""
        return self.out / "searches" / f"{cell.kind}-{cell.key}.json"

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """The plan's attacks.

        Of all that there are, those that the task has something for; of the standard ones, those
        that can show something here.
        """
        given = self.plan.attacks
        if given == names("attack"):
            given = usable(given, self.task)
        elif given == self.plan.standard:
            controlled = "A" if self.plan.control_models else "B" if self.task.twins else "C"
            given = fitting(given, controlled, self.task)
        else:
            return given
        return tuple(a for a in given if not self.experts or not self.by_name(a))

    def by_name(self, attack: str) -> bool:
        """Whether an attack changes matrices by their names, which experts do not have."""
        return find("attack", attack).by_name(self.config(attack))

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
            "versions": arithmetic(self.plan.device),
            "threads": self.threads,
            "dtype": self.plan.dtype,
            **({"also": list(self.task.also)} if self.task.also else {}),
            **({"samples": [self.task.samples, self.plan.seed]} if self.task.samples else {}),
            **added_measures(self.task.also),
        }

    @cached_property
    def _settings(self) -> dict[str, dict[str, Plain]]:
        """What cells of each attack depend on by its settings: themselves, and what they name."""
        return {attack: self._settings_of(attack) for attack in self.attacks}

    def _settings_of(self, attack: str) -> dict[str, Plain]:
        settings = plain(self.config(attack))
        named = self.named(attack)
        return {
            "settings": settings,
            **({"reads": [content_identity(name) for name in named]} if named else {}),
            **added_measures((*self.task.also, *texts_in(settings))),
        }

    def named(self, attack: str) -> Sequence[str]:
        """Files and models that an attack's settings name; see ``Attack.reads``."""
        return find("attack", attack).reads(self.config(attack))

    def _asked_too(self, label: str) -> dict[str, Plain]:
        """What cells of a model depend on where it is asked twin questions."""
        twins = self.twins(label)
        return {"twins": digest([plain(twin) for twin in twins])} if twins else {}

    def _baselines(self) -> Iterator[Cell]:
        for entry in self.entries:
            inputs: dict[str, Plain] = {
                "model": entry.identity,
                "guessing": entry.role == "original",
            }
            inputs |= self._asked_too(entry.label)
            yield Cell("baseline", entry.label, "", inputs | self._common)

    def _attacks(self) -> Iterator[Cell]:
        for entry in (*self.unlearned, *self.planted):
            for attack in self.attacks:
                inputs = self._common | {
                    "original": self.original.identity,
                    "unlearned": entry.identity,
                    "attack": attack,
                    **self._settings[attack],
                    "seed": self.plan.seed,
                    "retain_limit": self.plan.retain_limit,
                    "registered": added_version("attack", attack),
                }
                own = inputs | self._asked_too(entry.label)
                yield Cell("attack", entry.label, attack, own)
                for i, label in enumerate(entry.controls):
                    about = inputs | {"control": self.entry(label).identity}
                    yield Cell("control", entry.label, attack, about, label if i else "")
                yield Cell("ceiling", entry.label, attack, inputs)


def set_up(
    plan: AuditPlan, out: Path, threads: int, *, suffix: str = "", planted: bool = False
) -> Setup:
    """Load the plan's task and find its models; loads and computes nothing heavy.

    Args:
        out: The audit's folder; models that it makes go to ``out/models``.
        threads: Of the arithmetic.
        suffix: Of the folders of models that it makes.
        planted: Whether hiding planted in the original is attacked too.

    Raises:
        ValueError: If a model or task is unusable, the models' tokenizers differ, or an attack's
            settings name a file or a model that is not there.
        PrerequisiteError: If a download is needed that is not there.
    """
    trust = plan.trust_remote_code
    known = check(plan.original, trust_remote_code=trust)
    named = [*plan.control_models, *(v for k, v in plan.labels.items() if k not in plan.methods)]
    others = {name: check(name, plan.original, trust_remote_code=trust) for name in named}
    shape = configuration(plan.original, trust_remote_code=trust)
    experts = experts_of(shape)
    resolved = plan.resolved(size_of(shape.hidden_size))
    task = load_task(plan.task or None, plan.original, resolved.task, trust_remote_code=trust)
    for name, own in others.items():
        compare_tokenizers(name, own, plan.original, known, task.texts)
    making = Making(task, out, threads, suffix)
    entries = list(entries_of(resolved, making))
    entries += planted_entries(entries) if planted else ()
    setup = Setup(resolved, task, tuple(entries), shape.num_hidden_layers, threads, out, experts)
    _check_named(setup)
    return setup


def _check_named(setup: Setup) -> None:
    """Make sure that what attacks' settings name is there, so that its content can be hashed."""
    for attack in setup.attacks:
        for name in setup.named(attack):
            if Path(name).is_file():
                continue
            try:
                check(name, trust_remote_code=setup.plan.trust_remote_code)
            except ValueError as err:
                raise ValueError(f"settings of {attack} name {name!r}: {err}") from err
