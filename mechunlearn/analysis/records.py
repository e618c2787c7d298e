"""The report: schema 2 of ``report.json``, in one place.

A JSON schema is generated from these records (``mechunlearn/analysis/report.schema.json``).
"""

from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mechunlearn.analysis.course import Course as Course
from mechunlearn.analysis.course import Curve as Curve
from mechunlearn.analysis.course import CurvePoint as CurvePoint
from mechunlearn.analysis.course import Price as Price
from mechunlearn.analysis.measured import Leak as Leak
from mechunlearn.analysis.measured import Measured as Measured
from mechunlearn.analysis.measured import MeasureTable as MeasureTable
from mechunlearn.analysis.planted import PositiveControl as PositiveControl
from mechunlearn.analysis.row import Against as Against
from mechunlearn.analysis.row import Contrast as Contrast
from mechunlearn.analysis.row import Row as Row
from mechunlearn.analysis.row import Seeds as Seeds
from mechunlearn.analysis.row import Tier as Tier
from mechunlearn.analysis.row import TriedVariant as TriedVariant
from mechunlearn.attacks import Trace
from mechunlearn.audit.records import Guessing, ModelRole
from mechunlearn.environment import MachineCard
from mechunlearn.errors import unknown
from mechunlearn.models.cards import ModelCard
from mechunlearn.records import Interval, Plain, Record, typed

SCHEMA = 2
Arm = Literal["unlearned", "never_knew", "original"]
Category = Literal[
    "not judged",
    "intact",
    "intact, disguised",
    "openly answered",
    "partly open",
    "hidden, shallow",
    "hidden at the output",
    "hidden, sparse",
    "hidden, deep",
    "no evidence",
    "inconclusive",
]
T = TypeVar("T", bound=Trace)


class Verdict(Record, frozen=True):
    """What the numbers say of one unlearned model, by fixed rules."""

    category: Category
    tier: Tier
    text: str
    over_unlearned: bool = False
    """Significantly below guessing: inverted information is not erased."""
    lost: Category | None = None
    """Of a partly open model: what is said of the part that was lost."""
    unearned: bool = False
    """Whether a positive control would decide between no evidence and inconclusive."""
    by_seed: dict[str, Category] = msgspec.field(default_factory=dict)
    """The verdict with each seed, where the audit was repeated; the first one's stands above."""


class Model(Record, frozen=True):
    """One model of the audit, without any attack."""

    label: str
    """Its name in tables; no two models share one."""
    role: ModelRole
    sets: dict[str, Measured]
    verdict: Verdict | None = None
    """Of unlearned models."""
    control: str | None = None
    """Label of the model that an unlearned one is compared with; ``None``: there is none."""
    more_controls: tuple[str, ...] = ()
    """Labels of further ones."""
    letters: tuple[tuple[int, ...], ...] | None = None
    """Forget questions by right letter (row) and letter said (column, exact ties last)."""


class Overlap(Record, frozen=True):
    """Lost questions that exactly these attacks answer."""

    attacks: tuple[str, ...]
    n: int


class Union(Record, frozen=True):
    """What any attack answers, beside what any attack answers on the controls."""

    n_attacks: int
    value: float
    control: float
    difference: float
    difference_ci: Interval
    recovery: float | None
    recovery_ci: Interval | None
    p: float
    n_lost: int
    overlap: tuple[Overlap, ...]
    never: tuple[int, ...]
    """Places of the lost questions that no attack answers."""


class Spent(Record, frozen=True):
    """The price of an attack."""

    attack: str
    pareto: bool
    """Whether something comes back and no attack brings back as much for no more."""
    difference: float
    recovery: float | None
    samples: int
    """Examples trained on."""
    forget_tokens: int
    """Tokens of forget information."""
    flops: int
    seconds: float
    utility_loss: float


class Renamed(Record, frozen=True):
    """Whether the answers are right once the letters are renamed as the select fold suggests."""

    value: float
    renaming: tuple[int, ...]
    p: float


class Openness(Record, frozen=True):
    """How much of what the original knows is still answered without any attack."""

    guessing: float
    """The highest of chance, the hidden question and the never-knew model."""
    knows_ci: Interval
    """Original minus guessing."""
    open_ci: Interval
    """Unlearned minus guessing."""
    share: float | None
    """[unlearned - guessing] / [original - guessing]; ``None`` where the original does not know."""


class OtherForm(Record, frozen=True):
    """What models answer when they are only asked in another form, and how open that is."""

    attack: str
    """The attack that chose the form, on the select fold."""
    form: str
    """In words."""
    value: float
    """The unlearned model, changed in nothing."""
    original: float
    control: float | None
    """The never-knew model, where there is one."""
    openness: Openness


class Findings(Record, frozen=True):
    """What all attacks on one unlearned model say together, and what figures draw of them."""

    model: str
    tried: dict[str, tuple[TriedVariant, ...]]
    below_chance: bool
    p_chance: float
    """One-sided, that the unlearned model's value is below guessing, by flipping the signs of whole
    sources."""
    openness: Openness | None = None
    """``None`` in reports before it."""
    other_form: OtherForm | None = None
    """The most open form beside the task's; ``None``: none was tried."""
    nonfinite: tuple[str, ...] = ()
    """Models, or attacks on this model, of which an answer is no finite number."""
    renamed: Renamed | None = None
    union: Union | None = None
    spent: tuple[Spent, ...] = ()
    cheapest_half: str | None = None
    """The attack of least arithmetic that recovers half of the gap."""
    courses: dict[str, dict[Arm, Course]] = msgspec.field(default_factory=dict)
    """Training curves by attack and arm."""
    traces: dict[str, dict[Arm, dict[str, Plain]]] = msgspec.field(default_factory=dict)
    """By attack, arm and kind; read them with ``trace``."""

    def trace(self, kind: type[T], attack: str, arm: Arm = "unlearned") -> T | None:
        """What an attack left to draw of one arm; ``None`` where it left nothing of this kind."""
        data = self.traces.get(attack, {}).get(arm, {}).get(kind.kind)
        return None if data is None else typed(data, kind, f"trace {kind.kind} of {attack}")


class QuestionSet(Record, frozen=True):
    """The questions of one set, in the order of the answers."""

    stem: tuple[str, ...]
    topic: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    right: tuple[int, ...]
    shown: str = ""
    """The first question exactly as it is asked, chat template and all."""


X = TypeVar("X", str, float)


class Beside(Record, Generic[X], frozen=True):
    """Something of every answer, in the order of the questions."""

    models: dict[str, dict[str, tuple[X, ...]]]
    """Model -> set -> answers without any attack."""
    attacked: dict[str, dict[str, dict[str, tuple[X, ...]]]]
    """Unlearned model -> attack -> set -> answers."""
    control: dict[str, dict[str, dict[str, tuple[X, ...]]]]
    """Unlearned model -> attack -> set -> answers of the never-knew model."""


class Questions(Record, frozen=True):
    """Every question with every answer to it.

    An answer is a character: the index of the choice, ``-`` for a tie, ``.`` where nothing was
    asked.
    """

    sets: dict[str, QuestionSet]
    models: dict[str, dict[str, str]]
    """Model -> set -> answers without any attack."""
    attacked: dict[str, dict[str, dict[str, str]]]
    """Unlearned model -> attack -> set -> answers."""
    control: dict[str, dict[str, dict[str, str]]]
    """Unlearned model -> attack -> set -> answers of the never-knew model."""
    texts: Beside[str] | None = None
    """What was said, of open answers."""
    margins: Beside[float] | None = None
    """How far the choice is ahead of the next one, in the measure's unit (logits of letters, nats
    a token of statements); where choices are compared."""


class TaskCard(Record, frozen=True):
    """The task of an audit."""

    name: str
    scoring: str
    chance: float
    n: dict[str, int]
    """``forget, select`` and so on."""
    template: tuple[str, ...] = ()
    """What was done to use the chat template: a stopped clock, a folded system message."""
    revision: str | UnsetType = UNSET
    """Changes with any question, text or prompt; older reports do not say."""


class RunCard(Record, frozen=True):
    """What is needed to repeat a run."""

    command: str
    seed: int
    models: dict[str, ModelCard]
    """By label."""
    task: TaskCard
    settings: dict[str, Plain]
    """The plan."""
    versions: dict[str, str]
    machine: MachineCard
    seconds: dict[str, float]
    """Measured wall-clock seconds of each part on that machine."""


class ReportFile(Record, frozen=True):
    """Everything an audit found, as ``report.json`` holds it; ``Report`` is what people use."""

    runcard: RunCard
    models: tuple[Model, ...]
    rows: tuple[Row, ...]
    findings: tuple[Findings, ...]
    """One per unlearned model."""
    guessing: Guessing
    not_computed: tuple[tuple[str, str], ...] = ()
    """Model and attack."""
    questions: Questions | None = None
    positive_controls: tuple[PositiveControl, ...] = ()
    """Empty where they would decide nothing."""
    by_measure: dict[str, MeasureTable] = msgspec.field(default_factory=dict)
    """Further measures of the same answers or facts."""
    leaks: tuple[Leak, ...] = ()
    """leak@k, where answers were drawn."""
    schema: Literal[2] = 2

    @property
    def unlearned(self) -> tuple[Model, ...]:
        """The models under test."""
        return tuple(m for m in self.models if m.role == "unlearned")

    @property
    def original(self) -> Model:
        """The model before unlearning."""
        return next(m for m in self.models if m.role == "original")

    def model(self, label: str) -> Model:
        """A model by label."""
        found = next((m for m in self.models if m.label == label), None)
        if found is None:
            raise unknown("model", label, [m.label for m in self.models])
        return found

    def control_of(self, label: str) -> Model | None:
        """What an unlearned model is compared with."""
        control = self.model(label).control
        return None if control is None else self.model(control)

    def rows_of(self, label: str) -> tuple[Row, ...]:
        """The attacks on one unlearned model."""
        return tuple(r for r in self.rows if r.model == label)

    def findings_of(self, label: str) -> Findings:
        """What the attacks on one unlearned model say together."""
        found = next((f for f in self.findings if f.model == label), None)
        if found is None:
            raise unknown("unlearned model", label, [f.model for f in self.findings])
        return found
