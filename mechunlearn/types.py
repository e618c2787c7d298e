"""The nouns of the package: values that flow from task and models to the report."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechunlearn.display import table

HookedModel: TypeAlias = TransformerBridge
"""TransformerLens' hooked transformer; before version 4 it was called ``HookedTransformer``."""
Fold = Literal["select", "confirm"]
Scoring = Literal["letter", "cloze"]
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice item.

    Raises:
        ValueError: If there are fewer than two choices, the stem is empty, or ``answer`` is not the
            index of a choice.
    """

    stem: str
    """The question as asked."""
    choices: tuple[str, ...]
    answer: int
    """Index of the right choice."""
    topic: str = ""
    source: str = ""
    """Id of the facts' origin; questions of one source always share a fold."""
    statement: str = ""
    """The sentence whose continuation is the choice, for cloze scoring; default: the stem."""
    fold: Fold = "confirm"

    def __post_init__(self) -> None:
        where = f"question {self.stem[:60]!r}"
        if not self.stem.strip():
            raise ValueError(f"a question has an empty stem (choices {self.choices})")
        if not 2 <= len(self.choices) <= len(LETTERS):
            raise ValueError(
                f"{where} has {len(self.choices)} choice(s); 2 to {len(LETTERS)} are needed"
            )
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"{where} has no right answer: index {self.answer} "
                f"is not one of 0..{len(self.choices) - 1}"
            )

    def rotated(self, by: int) -> "Question":
        """The same question with the choices moved ``by`` places (cyclically)."""
        n = len(self.choices)
        choices = tuple(self.choices[(i + by) % n] for i in range(n))
        return dataclasses.replace(self, choices=choices, answer=(self.answer - by) % n)


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the answer that a model was trained to give; training data of methods.

    Raises:
        ValueError: If prompt or answer is empty.
    """

    prompt: str
    answer: str
    """Continues the prompt, with its leading space."""

    def __post_init__(self) -> None:
        if not self.prompt.strip() or not self.answer.strip():
            raise ValueError(f"an example needs prompt and answer, not {self}")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a question becomes text; every field is a ``str.format`` template.

    Example:
        >>> f = PromptFormat(letter="{stem}{choices} answer:", choice=" {letter}. {text}")
        >>> f.letter_prompt(Question("2 + 2 =", ("3", "4"), 1))
        '2 + 2 = A. 3 B. 4 answer:'
    """

    letter: str = "{header}{stem}{choices}\nAnswer:"
    """Prompt for letter scoring, from ``header``, ``stem`` and the rendered ``choices``."""
    choice: str = "\n{letter}. {text}"
    cloze: str = "{statement}"
    """Prompt for cloze scoring, from ``statement`` and, where it shows one, ``header``."""
    ending: str = " {text}"
    header: str = ""
    """Text in front of every prompt: instructions, few-shot examples."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The header of each topic that has one of its own."""
    answer: str = " {letter}"
    """How the letter follows the prompt."""
    separator: str = "\n\n"
    """Between texts that are put together."""
    rewrite: Callable[[str], str] | None = None
    """Changes the finished prompt (a statement, for cloze scoring); how prompts are attacked."""

    def letter_prompt(self, question: Question) -> str:
        """The prompt whose next token should be the letter of the right choice."""
        choices = "".join(
            self.choice.format(letter=letter, text=text)
            for letter, text in zip(LETTERS, question.choices, strict=False)
        )
        header = self.headers.get(question.topic, self.header)
        return self._final(self.letter.format(header=header, stem=question.stem, choices=choices))

    def cloze_prompt(self, question: Question) -> tuple[str, list[str]]:
        """The sentence to complete, and each choice as its continuation."""
        header = self.headers.get(question.topic, self.header)
        statement = self._final(
            self.cloze.format(header=header, statement=question.statement or question.stem)
        )
        return statement, [self.ending.format(text=text) for text in question.choices]

    def with_answer(self, question: Question, scoring: Scoring) -> tuple[str, str]:
        """What is asked, and the right answer as it continues that."""
        if scoring == "letter":
            letter = self.answer.format(letter=LETTERS[question.answer])
            return self.letter_prompt(question), letter
        statement, endings = self.cloze_prompt(question)
        return statement, endings[question.answer]

    def text(self, question: Question, scoring: Scoring) -> str:
        """What is asked, without any answer."""
        if scoring == "letter":
            return self.letter_prompt(question)
        return self.cloze_prompt(question)[0]

    def _final(self, text: str) -> str:
        return text if self.rewrite is None else self.rewrite(text)

    def without_stem(self) -> "PromptFormat":
        """The format that hides the question: what is guessed from the choices alone."""
        return dataclasses.replace(self, letter=self.letter.replace("{stem}", ""), cloze="the")


@dataclass(frozen=True)
class Task:
    """What was to be forgotten, what must survive, and how to ask.

    Raises:
        ValueError: If a set or fold is empty, or forget and retain questions overlap.
    """

    name: str
    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    prompt: PromptFormat
    scoring: Scoring = "letter"
    forget_text: tuple[str, ...] = ()
    """Corpus that states the forget facts; training data of unlearning methods."""
    retain_text: tuple[str, ...] = ()
    """Corpus that states the retain facts."""
    plain_text: tuple[str, ...] = ()
    """Text that has to do with neither."""
    forget_topics: Mapping[str, str] = field(default_factory=dict)
    """Domain of each forget text, by the text, where there are several domains."""
    forget_examples: tuple[Example, ...] = ()
    """Prompts with the answers to forget; default: the forget questions."""
    retain_examples: tuple[Example, ...] = ()
    """Prompts with the answers to keep; default: the retain questions."""
    plain_examples: tuple[Example, ...] = ()
    """Questions about neither, asked as the others are, with right answers."""
    refusals: tuple[str, ...] = ()
    """Answers that decline to say; default: ``mechunlearn.tasks.refusals``."""
    extra: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """Further question sets, only reported."""

    def __post_init__(self) -> None:
        for role in ("forget", "retain"):
            if not getattr(self, role):
                raise ValueError(f"task {self.name!r} has no {role} questions")
        both = {_key(q) for q in self.forget} & {_key(q) for q in self.retain}
        if both:
            raise ValueError(
                f"task {self.name!r}: {len(both)} question(s) are in both the forget and the "
                f"retain set, e.g. {sorted(both)[0][0][:60]!r}; remove them from one"
            )
        for fold in ("select", "confirm"):
            if not self.questions("forget", fold) or not self.questions("retain", fold):
                raise ValueError(
                    f"task {self.name!r} has no questions in the {fold} fold of one of its sets; "
                    "give each set at least two sources (near-duplicates count as one)"
                )
        sources = {
            fold: {q.source for q in self.forget if q.fold == fold and q.source}
            for fold in ("select", "confirm")
        }
        if shared := sources["select"] & sources["confirm"]:
            raise ValueError(
                f"task {self.name!r}: sources {sorted(shared)[:3]} are in both folds; "
                "facts of one source must share a fold"
            )

    def questions(self, role: Literal["forget", "retain"], fold: Fold) -> tuple[Question, ...]:
        """The questions of one set that belong to one fold."""
        pool = self.forget if role == "forget" else self.retain
        return tuple(q for q in pool if q.fold == fold)

    def examples(self, role: Literal["forget", "retain"]) -> tuple[Example, ...]:
        """Prompts with right answers: the given ones, else the questions in the task's format."""
        given = self.forget_examples if role == "forget" else self.retain_examples
        pool = self.forget if role == "forget" else self.retain
        return given or tuple(self.example(q) for q in pool)

    def example(self, question: Question) -> Example:
        """A question as it is asked, with its right answer."""
        return Example(*self.prompt.with_answer(question, self.scoring))

    @property
    def sets(self) -> dict[str, tuple[Question, ...]]:
        """All question sets: forget, retain and the extra ones."""
        return {"forget": self.forget, "retain": self.retain, **self.extra}

    @property
    def chance(self) -> float:
        """Expected accuracy of guessing on the forget set."""
        return float(np.mean([1 / len(q.choices) for q in self.forget]))


def _key(question: Question) -> tuple[str, tuple[str, ...]]:
    return question.stem.strip().lower(), tuple(sorted(c.strip().lower() for c in question.choices))


HookFn = Callable[..., Tensor]
WeightEdit = Callable[[HookedModel], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Intervention:
    """A named, reversible change to a model: activation hooks and weight edits.

    ``a + b`` applies both, in that order. Hooks must treat every position alike and depend on
    nothing but its activation, so that cached keys and values stay valid.
    """

    name: str
    hooks: tuple[tuple[str, HookFn], ...] = field(default=(), repr=False)
    """Pairs of hook-point name and function ``(activation, hook) -> activation``."""
    edits: tuple[WeightEdit, ...] = field(default=(), repr=False)
    """Context managers that change weights on entry and restore them bit for bit on exit."""

    def __add__(self, other: "Intervention") -> "Intervention":
        name = f"{self.name} + {other.name}"
        return Intervention(name, self.hooks + other.hooks, self.edits + other.edits)

    @contextmanager
    def on(self, model: HookedModel) -> Iterator[HookedModel]:
        """Apply to ``model`` inside a ``with`` block; restored also after an exception."""
        with ExitStack() as stack:
            for edit in self.edits:
                stack.enter_context(edit(model))
            if self.hooks:
                stack.enter_context(model.hooks(fwd_hooks=list(self.hooks)))
            yield model

    def _repr_html_(self) -> str:
        places = ", ".join(place for place, _ in self.hooks) or "none"
        return table({"hooks": places, "weight edits": len(self.edits)}, self.name)


NO_CHANGE = Intervention("none")


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One vector in the residual stream for each of some layers."""

    name: str
    layers: tuple[int, ...]
    vectors: Float[Tensor, "layer d_model"] = field(repr=False)
    """Row i belongs to ``layers[i]``; not normalised, so its length can be read."""
    reference: Float[Tensor, "layer d_model"] | None = field(default=None, repr=False)
    """Mean activations of what the direction was taken against, where it was."""

    def unit(self) -> Float[Tensor, "layer d_model"]:
        """The vectors at length 1.

        Raises:
            ValueError: If a vector has length 0 or is not finite: it points nowhere.
        """
        norms = self.vectors.norm(dim=-1, keepdim=True)
        if not bool((norms > 0).all() and norms.isfinite().all()):
            raise ValueError(f"direction {self.name!r} has a zero or non-finite vector")
        return self.vectors / norms

    def restricted(self, layers: Sequence[int]) -> "Direction":
        """The same direction at some of its layers.

        Raises:
            ValueError: If it has no vector for one of them.
        """
        if missing := [i for i in layers if i not in self.layers]:
            raise ValueError(f"direction {self.name!r} has no vector for layers {missing}")
        rows = [self.layers.index(layer) for layer in layers]
        reference = None if self.reference is None else self.reference[rows]
        return Direction(self.name, tuple(layers), self.vectors[rows], reference)

    def _repr_html_(self) -> str:
        lengths = self.vectors.norm(dim=-1).tolist()
        rows = {f"layer {i}": f"length {x:.3g}" for i, x in zip(self.layers, lengths, strict=True)}
        return table(rows, self.name)
