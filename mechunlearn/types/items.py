"""Questions, examples, and how both become text."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mechunlearn.registry import find
from mechunlearn.types.exchange import exchanged

Role = Literal["forget", "retain"]
"""What was to be removed, and what must survive."""
Fold = Literal["select", "confirm"]
"""Questions that attacks may choose by, and questions touched once, for the reported numbers."""
Scoring: TypeAlias = str
"""Name of a measure in the registry: ``letter``, ``cloze``, or one of your own."""
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

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every text that is right as an answer."""
        return (self.choices[self.answer],)

    @property
    def fact(self) -> str:
        """The part of a right answer that nobody says without knowing it."""
        return self.choices[self.answer]

    def asked_as(self, other: "Question") -> "Question":
        """The same answers after another question's words."""
        return dataclasses.replace(self, stem=other.stem, statement=other.statement)


@dataclass(frozen=True, slots=True)
class OpenQuestion(Question):
    """A question that is answered in words.

    Whatever compares choices finds them here too: the first gold answer among the wrong ones, at a
    place that depends on the gold answer only, so that no letter is right more often than others.

    Raises:
        ValueError: If the question or a gold answer is missing or empty, a wrong answer is also
            right, or the span is no part of a gold answer.
    """

    choices: tuple[str, ...] = field(init=False)
    answer: int = field(init=False)
    golds: tuple[str, ...] = field(kw_only=True)
    """Right answers: alternatives, the first of which stands for all where one is needed."""
    wrong: tuple[str, ...] = field(default=(), kw_only=True)
    """Answers of the same form that are not right."""
    paraphrases: tuple[str, ...] = field(default=(), kw_only=True)
    """The question in other words."""
    gold_paraphrases: tuple[str, ...] = field(default=(), kw_only=True)
    """The first gold answer in other words."""
    span: str = field(default="", kw_only=True)
    """The part of a gold answer that carries the fact; empty: all of the first one."""

    def __post_init__(self) -> None:
        where = f"question {self.stem[:60]!r}"
        if not self.stem.strip():
            raise ValueError(f"an open question is empty (gold answers {self.golds})")
        if not self.golds:
            raise ValueError(f"{where} has no gold answer; give at least one")
        if not all(text.strip() for text in (*self.golds, *self.gold_paraphrases)):
            raise ValueError(f"{where} has an empty gold answer; leave it out or fill it in")
        if both := [w for w in self.wrong if w.strip() in {g.strip() for g in self.golds}]:
            raise ValueError(f"{where} has {both[0][:60]!r} as a right and as a wrong answer")
        if self.span and not any(self.span in gold for gold in self.golds):
            raise ValueError(
                f"{where}: the span {self.span[:60]!r} is in none of its gold answers; copy it "
                "from one, letter by letter"
            )
        place = zlib.crc32(self.golds[0].encode()) % (1 + len(self.wrong))
        choices = (*self.wrong[:place], self.golds[0], *self.wrong[place:])
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "answer", place)

    def rotated(self, by: int) -> Question:
        """A question with choices; see ``Question``."""
        about = {"topic": self.topic, "source": self.source, "statement": self.statement}
        plain = Question(self.stem, self.choices, self.answer, fold=self.fold, **about)
        return plain.rotated(by)

    @property
    def accepted(self) -> tuple[str, ...]:
        """See ``Question``."""
        return self.golds

    @property
    def fact(self) -> str:
        """See ``Question``."""
        return self.span or self.golds[0]

    def asked_as(self, other: Question) -> Question:
        """See ``Question``; answers name what the other question names, with this one's fact.

        Who says the right form of answer about the wrong fact gets what that is worth.
        """
        words = other.paraphrases if isinstance(other, OpenQuestion) else ()
        asked = dataclasses.replace(
            self, stem=other.stem, statement=other.statement, paraphrases=words
        )
        texts = (self.golds, self.gold_paraphrases, self.wrong, (self.span,))
        golds, paraphrases, wrong, (span,) = (
            exchanged(own, self.stem, other.stem) for own in texts
        )
        if set(golds) & set(wrong):
            return asked
        return dataclasses.replace(
            asked, golds=golds, gold_paraphrases=paraphrases, wrong=wrong, span=span
        )


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
class Turn:
    """What a chat template puts around a user's turn; nothing where text is plain.

    Rewrites, examples in front and suffixes act inside the turn, so that no change of a prompt
    can touch the template.
    """

    before: str = ""
    after: str = ""
    """Up to where the assistant begins to answer."""
    lead: str = ""
    """How an answer begins after that, in the place of its own leading space."""
    notes: tuple[str, ...] = ()
    """What was done so that the template can be used, for people: a stopped clock, a system message
    that it has no turn for."""

    @property
    def plain(self) -> bool:
        """Whether there is no template."""
        return not (self.before or self.after)

    def around(self, question: str) -> str:
        """The whole prompt."""
        return f"{self.before}{question}{self.after}"

    def holds(self, prompt: str) -> bool:
        """Whether a prompt stands in this template."""
        long_enough = len(prompt) >= len(self.before) + len(self.after)
        return long_enough and prompt.startswith(self.before) and prompt.endswith(self.after)

    def inside(self, prompt: str) -> str:
        """The question of a whole prompt.

        Raises:
            ValueError: If the prompt is not in this template.
        """
        if not self.holds(prompt):
            raise ValueError(
                f"the prompt {prompt[:60]!r} is not in the chat template it should be in "
                f"({self.before[:40]!r} ... {self.after[-40:]!r}); build it with task.prompt.text"
            )
        return prompt[len(self.before) : len(prompt) - len(self.after)]

    def reply(self, answer: str) -> str:
        """An answer as it follows the whole prompt."""
        return answer if self.plain else self.lead + answer.lstrip()


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a question becomes text; every ``str`` field is a ``str.format`` template.

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
    turn: Turn = Turn()
    """The chat template in which all of that is a user's turn."""

    def letter_prompt(self, question: Question) -> str:
        """The prompt whose next token should be the letter of the right choice."""
        choices = "".join(
            self.choice.format(letter=letter, text=text)
            for letter, text in zip(LETTERS, question.choices, strict=False)
        )
        header = self.headers.get(question.topic, self.header)
        asked = self.letter.format(header=header, stem=question.stem, choices=choices)
        return self.turn.around(asked)

    def cloze_prompt(self, question: Question) -> tuple[str, list[str]]:
        """The sentence to complete, and each choice as its continuation."""
        header = self.headers.get(question.topic, self.header)
        statement = self.cloze.format(header=header, statement=question.statement or question.stem)
        endings = self.endings(question.choices)
        return self.turn.around(statement), [self.turn.reply(ending) for ending in endings]

    def endings(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Texts as they continue a statement."""
        return tuple(self.ending.format(text=text) for text in texts)

    def with_answer(self, question: Question, scoring: Scoring) -> tuple[str, str]:
        """What is asked, and the right answer as it continues that.

        Raises:
            ValueError: For an unknown measure; so does ``text``.
        """
        right = find("measure", scoring).right(question)
        return self.text(question, scoring), self.answers(question, scoring)[right]

    def answers(self, question: Question, scoring: Scoring) -> tuple[str, ...]:
        """Each choice, or each gold answer, as it follows what is asked."""
        answers = find("measure", scoring).answers(self, question)
        return tuple(self.turn.reply(answer) for answer in answers)

    def shown(self, question: Question, scoring: Scoring) -> tuple[str, str]:
        """A question and its right answer as plain text, to be shown inside a turn."""
        return dataclasses.replace(self, turn=Turn()).with_answer(question, scoring)

    def text(self, question: Question, scoring: Scoring) -> str:
        """What is asked, in its chat template, without any answer."""
        return find("measure", scoring).prompt(self, question)

    def without_stem(self) -> "PromptFormat":
        """The format that hides the question: what is guessed from the choices alone."""
        return dataclasses.replace(self, letter=self.letter.replace("{stem}", ""), cloze="the")
