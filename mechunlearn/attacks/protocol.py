"""What an attack is: what it declares, what it may see, and how it is searched.

An attack is a class derived from ``Attack``, in a file of its own:

    class Mine(Attack[Config, None, Variant]):
        family, access, needs = "direction", frozenset({"activations"}), frozenset()
        presets = {"organism": Config()}
        def search(self, model, seen, reference, config): return Grid(variants, change, sham)

Everything that an audit has to know of it stands there; nothing else tests for its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args, runtime_checkable

import msgspec

from mechunlearn.cost.job import Cost, Job
from mechunlearn.errors import unknown
from mechunlearn.presets import Size
from mechunlearn.types import (
    Change,
    Example,
    HookedModel,
    PromptFormat,
    Question,
    Role,
    Scoring,
    Task,
)

Family = Literal["prompt", "direction", "read-out", "sparse", "precision", "delta", "relearn"]
"""What kind of evidence an attack gives; verdicts read this."""
FAMILIES: tuple[Family, ...] = get_args(Family)
Access = Literal["prompts", "logits", "activations", "weights"]
"""The threat model: what the attacker must see or change."""
ACCESSES: tuple[Access, ...] = get_args(Access)
Need = Literal[
    "original model",
    "forget questions",
    "other facts of the forget domain",
    "the tested facts",
    "forget text",
    "retain facts",
    "benign text",
    "unrelated questions",
    "unused tokens",
]
"""What else an attack takes; decides what it gets to see, and the grade of its evidence."""
NEEDS: tuple[Need, ...] = get_args(Need)

C = TypeVar("C")
R = TypeVar("R")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The configuration of an attack that has nothing to set."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training run has come when it is measured."""

    run: str
    """Which of an attack's runs: ``lr 0.001, seed 0``."""
    steps: int
    samples: int
    """Examples trained on so far, repeats included."""
    tokens: int
    """Tokens of forget information so far."""
    flops: int
    """Arithmetic of the training so far, without what measuring took."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a variant is worth on the select fold."""

    forget: float
    """Mean value on the forget questions that decide."""
    retain: float | None = None
    """Mean value on the retain questions; ``None`` where it was not measured."""


@runtime_checkable
class Watch(Protocol):
    """Measures a model while an attack trains it; the audit owns what is measured.

    Called with the variant that the model's present weights are, or ``None`` before training. The
    audit keeps the confirm fold's answers to itself; the attack learns the select fold's values.
    """

    def __call__(self, model: HookedModel, variant: Any, progress: Progress) -> Scored:
        """Measure ``model`` as it is."""
        ...


def unwatched(model: HookedModel, variant: Any, progress: Progress) -> Scored:
    """Measures nothing, for attacks that are used without an audit."""
    return Scored(float("nan"))


def halves(
    questions: Sequence[Question], what: str
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Questions to learn from and questions to be judged by; they share no source.

    Args:
        what: What a message calls the questions.

    Raises:
        ValueError: If all questions are of one source.
    """
    sources = sorted({q.source for q in questions})
    if len(sources) < 2:
        raise ValueError(
            f"{what} are to be learned from and judged by, which needs two sources; they have "
            f"{len(sources)}: give the task's questions sources"
        )
    first = set(sources[::2])
    return (
        tuple(q for q in questions if q.source in first),
        tuple(q for q in questions if q.source not in first),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that an attack may look at: the select fold and texts, as far as it says it needs them.

    There is no question of the confirm fold in it, but for attacks that need "the tested facts".
    Asking for something that was not declared is an error.
    """

    attack: str
    needs: frozenset[Need]
    prompt: PromptFormat
    scoring: Scoring
    parts: Mapping[str, tuple[Any, ...]] = field(repr=False)
    """By name, only what was declared."""
    splits: frozenset[Role] = frozenset()
    """Sets of which the attack learns from one half and is judged by the other."""
    watch: Watch = field(default=unwatched, repr=False)
    state: Path | None = None
    """File in which a long search may keep what it has, and from which it goes on."""

    @classmethod
    def of(
        cls,
        task: Task,
        attack: "Attack[Any, Any, Any]",
        *,
        name: str = "",
        config: Any = None,
        asked: Sequence[Question] | None = None,
        watch: Watch = unwatched,
        state: Path | None = None,
        tokenizer: Any = None,
    ) -> "Seen":
        """What ``attack`` may see of a task.

        Args:
            name: What messages call the attack.
            config: Its settings, which may decide what it learns from.
            asked: Forget questions of the select fold that the original answers and the unlearned
                model does not; default: all of the fold.
            tokenizer: Needed where the attack needs "unused tokens".
        """
        forget = task.questions("forget", "select")
        retain = task.questions("retain", "select")
        every: dict[Need, dict[str, tuple[Any, ...]]] = {
            "original model": {},
            "forget questions": {"asked": tuple(forget if asked is None else asked)},
            "other facts of the forget domain": {
                "forget": forget,
                "asked": tuple(forget if asked is None else asked),
            },
            "the tested facts": {"tested": task.questions("forget", "confirm")},
            "forget text": {"forget_text": task.forget_text},
            "retain facts": {"retain": retain},
            "benign text": {"plain_text": task.plain_text, "retain_text": task.retain_text},
            "unrelated questions": {"plain_examples": task.plain_examples},
            "unused tokens": {},
        }
        parts: dict[str, tuple[Any, ...]] = {}
        for need in attack.needs:
            parts |= every[need]
        if "unused tokens" in attack.needs:
            parts["used_tokens"] = tuple(sorted(_tokens(task, tokenizer)))
        return cls(
            attack=name or type(attack).__name__,
            needs=attack.needs,
            prompt=task.prompt,
            scoring=task.scoring,
            parts=parts,
            splits=attack.splits(config),
            watch=watch,
            state=state,
        )

    def _part(self, name: str, needs: str) -> tuple[Any, ...]:
        if name not in self.parts:
            raise ValueError(
                f"{self.attack} looks at {name}, but does not declare that it needs {needs!r}; add "
                "that to the needs of its class"
            )
        return self.parts[name]

    @property
    def asked(self) -> tuple[Question, ...]:
        """Forget questions of the select fold that were lost, or all where few were."""
        return self._part("asked", "forget questions")

    @property
    def forget(self) -> tuple[Question, ...]:
        """Forget questions of the select fold: the half to learn from where the set is split."""
        return self._half("forget", self._part("forget", "other facts of the forget domain"))

    @property
    def retain(self) -> tuple[Question, ...]:
        """Retain questions of the select fold: the half to learn from where the set is split."""
        return self._half("retain", self._part("retain", "retain facts"))

    def _half(self, role: Role, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        if role not in self.splits:
            return questions
        return halves(questions, f"{self.attack}: the {role} questions of the select fold")[0]

    @property
    def tested(self) -> tuple[Question, ...]:
        """The very questions that are reported."""
        return self._part("tested", "the tested facts")

    @property
    def forget_text(self) -> tuple[str, ...]:
        """Text that states the forget facts."""
        return self._part("forget_text", "forget text")

    @property
    def retain_text(self) -> tuple[str, ...]:
        """Text that states the retain facts."""
        return self._part("retain_text", "benign text")

    @property
    def plain_text(self) -> tuple[str, ...]:
        """Text that has to do with neither."""
        return self._part("plain_text", "benign text")

    @property
    def plain_examples(self) -> tuple[Example, ...]:
        """Questions about neither, with right answers."""
        return self._part("plain_examples", "unrelated questions")

    @property
    def used_tokens(self) -> frozenset[int]:
        """Tokens that occur in some prompt of the task."""
        return frozenset(self._part("used_tokens", "unused tokens"))

    def text(self, question: Question) -> str:
        """A question as it is asked."""
        return self.prompt.text(question, self.scoring)

    def example(self, question: Question) -> Example:
        """A question as it is asked, with its right answer."""
        return Example(*self.prompt.with_answer(question, self.scoring))


def _tokens(task: Task, tokenizer: Any) -> set[int]:
    """Tokens of every prompt and choice of a task: a set of numbers, no question."""
    questions = [q for asked in task.sets.values() for q in asked]
    texts = [task.prompt.text(q, task.scoring) + " ".join(q.choices) for q in questions]
    return {t for row in tokenizer(texts)["input_ids"] for t in row}


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is worth drawing of an attack; a subclass declares the fields and a figure reads them.

    A report keeps it as plain data under ``kind``, so that it opens without the attack.
    """

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Confirm:
    """The questions that are reported, for pictures drawn once the choice is made."""

    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    prompt: PromptFormat
    scoring: Scoring


View = Callable[[HookedModel, Confirm], Trace]
"""Draws something of any model at a chosen variant; must not hold on to the model of its search."""


class Search(ABC, Generic[V]):
    """What an attack learned about one model; makes its variants."""

    @abstractmethod
    def variants(self) -> Generator[Sequence[V], Sequence[Scored], None]:
        """Variants to try, some at a time; what they are worth is sent back.

        A grid yields all at once; an adaptive search looks at what it is sent. Everything is tried
        on the select fold.
        """

    @abstractmethod
    def change(self, variant: V) -> Change:
        """What this variant does to the model."""

    @abstractmethod
    def sham(self, variant: V, seed: int) -> Change | None:
        """A placebo of the same size; ``None`` only for read-outs, whose placebo is shuffling."""

    def size(self, variant: V) -> int:
        """Of two variants worth the same the smaller one is chosen."""
        return 0

    def traces(self, variant: V) -> Sequence[Trace]:
        """What is worth drawing of this search and of the chosen variant."""
        return ()

    def view(self, variant: V) -> View | None:
        """What is worth drawing of the unlearned, the never-knew and the original model alike."""
        return None


@dataclass(frozen=True, slots=True)
class Grid(Search[V]):
    """The simplest search: given variants, and functions that make a change and its sham."""

    grid: Sequence[V]
    make: Callable[[V], Change]
    placebo: Callable[[V, int], Change | None]

    def variants(self) -> Generator[Sequence[V], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.grid

    def change(self, variant: V) -> Change:
        """See ``Search``."""
        return self.make(variant)

    def sham(self, variant: V, seed: int) -> Change | None:
        """See ``Search``."""
        return self.placebo(variant, seed)


class Attack(ABC, Generic[C, R, V]):
    """An attack on an unlearned model; declares what it is and searches for variants.

    ``learn`` runs on the original, ``search`` on the model under test; the two never need both
    models at once.
    """

    family: ClassVar[Family]
    """What kind of evidence it gives."""
    access: frozenset[Access]
    """The threat model."""
    needs: frozenset[Need]
    """What else it takes; decides what ``Seen`` holds."""
    variant: type[V]
    """The frozen dataclass of its variants."""
    presets: Mapping[str, C]
    """Named settings; ``paper`` holds the published ones."""
    sizes: ClassVar[Mapping[Size, str]] = {
        "organism": "organism",
        "small": "small",
        "large": "paper",
    }
    """The preset that an audit takes for a size of model; another one falls back on the first."""
    limited: ClassVar[bool] = True
    """Whether a variant that costs too much retain accuracy is passed over."""

    def check_declared(self, name: str) -> None:
        """Refuse a family, an access or a need that there is not.

        Args:
            name: Under which the attack is registered.

        Raises:
            ValueError: Naming the nearest one that there is.
        """
        for kind, given, known in (
            ("family", (self.family,), FAMILIES),
            ("access", self.access, ACCESSES),
            ("need", self.needs, NEEDS),
        ):
            for word in given:
                if word not in known:
                    raise unknown(f"{kind} of attack {name!r}:", str(word), known)

    def splits(self, config: C) -> frozenset[Role]:
        """Sets of the select fold of which it learns from one half; the other half judges it."""
        return frozenset()

    def learn(self, original: HookedModel, seen: Seen, config: C) -> R | None:
        """What has to be known of the original model; called if that is among its needs."""
        return None

    def check(self, config: C, seen: Seen, layers: int) -> None:
        """Refuse settings that this task, or a model of so many blocks, does not allow.

        Called before anything is loaded or computed.

        Raises:
            ValueError: With what is allowed.
        """
        return

    @abstractmethod
    def search(self, model: HookedModel, seen: Seen, reference: R, config: C) -> Search[V]:
        """Look for the knowledge in ``model``, which is afterwards what it was."""

    def rebuild(
        self, model: HookedModel, seen: Seen, reference: R, variant: V, config: C
    ) -> Search[V]:
        """A search that can make a variant found earlier; cheaper than ``search`` if it can be."""
        return self.search(model, seen, reference, config)

    def cost(self, config: C, job: Job) -> Cost:
        """What it takes: arithmetic and bytes."""
        return Cost()

    def preset(self, size: Size) -> str:
        """Name of the settings for a size of model."""
        wanted = self.sizes[size]
        return wanted if wanted in self.presets else next(iter(self.presets))
