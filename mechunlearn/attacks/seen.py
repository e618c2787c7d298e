"""What an attack gets to see: the select fold, as far as it says it needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mechunlearn.attacks.vocabulary import Need
from mechunlearn.types import (
    Example,
    HookedModel,
    PromptFormat,
    Question,
    Role,
    Scoring,
    Task,
)


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


@runtime_checkable
class Declares(Protocol):
    """What decides what an attack gets to see."""

    @property
    def needs(self) -> frozenset[Need]:
        """What it takes."""
        ...

    def splits(self, config: Any) -> frozenset[Role]:
        """Sets of the select fold of which it learns from one half."""
        ...


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
        attack: Declares,
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
            "original weights": {},
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

    def shown(self, question: Question) -> Example:
        """A question with its right answer as plain text, to be put inside a user's turn."""
        return Example(*self.prompt.shown(question, self.scoring))


def _tokens(task: Task, tokenizer: Any) -> set[int]:
    """Tokens of every prompt and choice of a task: a set of numbers, no question.

    A question's first word may be another token behind a text that is put in front of it.
    """
    prompt, turn = task.prompt, task.prompt.turn
    questions = [q for asked in task.sets.values() for q in asked]
    texts = [prompt.text(q, task.scoring) + " ".join(q.choices) for q in questions]
    texts += [
        turn.around(f"{prompt.separator}{turn.inside(asked)}") + answer
        for asked, answer in (prompt.with_answer(q, task.scoring) for q in questions)
    ]
    return {t for row in tokenizer(texts)["input_ids"] for t in row}
