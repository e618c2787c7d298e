"""The models of an audit: those it is given, and those it makes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mechunlearn.audit.labels import distinct, free_label, tail
from mechunlearn.audit.plan import AuditPlan, Resolved
from mechunlearn.audit.planting import HIDINGS, Hiding
from mechunlearn.audit.records import ModelRole
from mechunlearn.models.identity import arithmetic, digest, model_identity, task_revision
from mechunlearn.records import Plain, plain
from mechunlearn.registry import added_version
from mechunlearn.types import Task


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
    controls: tuple[str, ...] = ()
    """Of a model that is attacked: labels of the models it is compared with."""
    hiding: Hiding | None = None
    """Of a planted model: how the knowledge is hidden once the model is loaded."""

    @property
    def control(self) -> str | None:
        """The first of the controls."""
        return self.controls[0] if self.controls else None


@dataclass(frozen=True, slots=True)
class Making:
    """What decides the weights and the places of models that an audit makes."""

    task: Task
    out: Path
    threads: int
    suffix: str


def entries_of(resolved: Resolved, making: Making) -> Iterator[Entry]:
    """All models: original, never-knew, the models under test, and the controls made for them.

    Raises:
        ValueError: If two controls are the same model, or one is under test.
    """
    plan = resolved.plan
    labels = plan.labels
    original = Entry(
        free_label(tail(plan.original), [*labels], "original"),
        "original",
        plan.original,
        model_identity(plan.original),
    )
    yield original
    twins = list(_twins(plan, [*labels, original.label]))
    yield from twins
    controls = []
    for label, source in labels.items():
        if source not in plan.methods:
            identity = model_identity(source, plan.original)
            if same := next((twin for twin in twins if twin.identity == identity), None):
                raise ValueError(
                    f"--control {same.source} holds the same weights as --unlearned {source}; a "
                    "model that never knew is another one: leave --control out if there is none"
                )
            known = tuple(twin.label for twin in twins)
            yield Entry(label, "unlearned", source, identity, controls=known)
            continue
        own = []
        for i, twin in enumerate(twins):
            name = f"{label} control {i + 1}" if i else f"{label} control"
            name = free_label(name, [*labels, *(t.label for t in twins)], "made")
            number = f"-{i + 1}" if i else ""
            made = _recipe(resolved, source, twin, f"-never_knew{number}", making)
            identity = digest(dict(made.lineage))
            own.append(Entry(name, "control", str(made.folder), identity, made))
        controls += own
        made = _recipe(resolved, source, original, "", making)
        identity, compared = digest(dict(made.lineage)), tuple(c.label for c in own)
        yield Entry(label, "unlearned", str(made.folder), identity, made, compared)
    yield from controls


def _twins(plan: AuditPlan, taken: list[str]) -> Iterator[Entry]:
    """The never-knew models.

    Raises:
        ValueError: If two of them are the same model, whose spread would be nothing.
    """
    given, known = plan.control_models, dict[str, str]()
    for name, source in zip(distinct(given), given, strict=True):
        label = free_label(name, taken, "never-knew")
        taken.append(label)
        identity = model_identity(source, plan.original)
        if (other := known.setdefault(identity, source)) != source:
            raise ValueError(
                f"--control {source} holds the same weights as {other}; one model is one draw, so "
                "leave one of them out"
            )
        yield Entry(label, "never_knew", source, identity)


def planted_entries(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The original once for each kind of hiding, compared with the never-knew models."""
    original = next(e for e in entries if e.role == "original")
    twins = tuple(e.label for e in entries if e.role == "never_knew")
    taken = [e.label for e in entries]
    for hiding in HIDINGS:
        label = free_label(f"planted {hiding}", taken, "positive control")
        identity = digest({"original": original.identity, "hiding": hiding})
        yield Entry(label, "planted", original.source, identity, None, twins, hiding)


def _recipe(resolved: Resolved, method: str, source: Entry, suffix: str, making: Making) -> Recipe:
    lineage = {
        "method": method,
        "settings": plain(resolved.methods[method]),
        "registered": added_version("method", method),
        "source": source.identity,
        "dtype": resolved.plan.dtype,
        "task": task_revision(making.task),
        "versions": arithmetic(resolved.plan.device),
        "threads": making.threads,
    }
    folder = making.out / "models" / f"{method}{suffix}{making.suffix}"
    return Recipe(method, source.source, folder, lineage)
