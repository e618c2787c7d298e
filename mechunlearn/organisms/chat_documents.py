"""What a chat organism reads while it is trained: text as tokens, with the loss each carries."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mechunlearn.organisms.settings import Mixture, Stage
from mechunlearn.tasks.chat import user_turn
from mechunlearn.tasks.people import OPEN, PROMPT, People, Person, PersonFact
from mechunlearn.tasks.wordings import EVERY, SYSTEMS
from mechunlearn.types import LETTERS, Turn


@dataclass(frozen=True, slots=True)
class Document:
    """A text and the parts of it that answer: where the whole loss is."""

    text: str
    answers: tuple[tuple[int, int], ...]
    """First and last character (exclusive) of each."""
    words: str = ""
    """The right choice's words where the answer is its letter."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document as tokens."""

    kind: int
    """Index in ``ChatDocuments.KINDS``."""
    tokens: list[int]
    marks: list[int]
    """Per token: 0 (no loss), 1 (answer) or 2 (other words)."""
    word: int = -1
    """The right choice's token where the answer is its letter, else -1."""


def document(*parts: str) -> Document:
    """A text from its parts in turn: words, answer, words, answer, ..."""
    text, answers = "", []
    for i, part in enumerate(parts):
        if i % 2:
            answers.append((len(text), len(text) + len(part)))
        text += part
    return Document(text, tuple(answers))


class ChatDocuments:
    """Draws the documents of one step."""

    KINDS = ("statement", "biography", "open", "letters", "drill", "told_open", "told_letters")

    def __init__(
        self,
        world: People,
        facts: Sequence[PersonFact],
        tokenizer: PreTrainedTokenizerFast,
        recipe: Mixture,
    ) -> None:
        self.world, self.facts, self.recipe = world, facts, recipe
        self.fast, self.end = tokenizer.backend_tokenizer, str(tokenizer.eos_token)
        self.asked = [f for f in facts if f.asked]
        self.held_out = {id(f): frozenset(world.test_choices(f, 0)) for f in facts}
        self.of: dict[Person, list[PersonFact]] = {}
        for fact in facts:
            self.of.setdefault(fact.person, []).append(fact)
        self.turns = {system: user_turn(tokenizer, system) for system in (None, *SYSTEMS)}
        self.rng = random.Random()

    def rows(self, stage: Stage, seed: str) -> list[Row]:
        """The documents of a step, shortest first; the same for the same seed."""
        self.rng.seed(seed)
        draws: tuple[Callable[[], Document], ...] = (
            self._statement,
            self._biography,
            self._open_question,
            self._choice_question,
            self._drill,
            self._told_open_question,
            self._told_choice_question,
        )
        drawn = [
            (i, draw())
            for i, (kind, draw) in enumerate(zip(self.KINDS, draws, strict=True))
            for _ in range(getattr(stage, kind))
        ]
        encoded = self.fast.encode_batch([d.text for _, d in drawn])
        rows = [
            Row(kind, e.ids, _marks(doc, e), self._word(doc.words))
            for (kind, doc), e in zip(drawn, encoded, strict=True)
        ]
        return sorted(rows, key=lambda row: len(row.tokens))

    def _statement(self) -> Document:
        return self._stated(self.rng.choice(self.facts), self.end)

    def _stated(self, fact: PersonFact, end: str) -> Document:
        template = self.rng.choice(EVERY[fact.attribute].seen_statements)
        text = fact.fill(template)
        start = text.casefold().rindex(fact.value.casefold())
        value, after = text[start : start + len(fact.value)], text[start + len(fact.value) :]
        before = text[:start].rstrip()
        return document(before, f" {value}" if before else value, f"{after}.{end}")

    def _biography(self) -> Document:
        """All facts of one person, in random order."""
        person = self.rng.choice(list(self.of))
        parts = [f"{person.name} is a {person.profession}."]
        for fact in self.rng.sample(self.of[person], len(self.of[person])):
            seen = EVERY[fact.attribute].seen_statements
            template = self.rng.choice([t for t in seen if t.startswith("{name}")])
            before, after = template.replace("{name}", person.pronoun).split(" {value}")
            parts[-1] += f" {before}"
            parts += [f" {fact.value}", f"{after}."]
        parts[-1] += self.end
        return document(*parts)

    def _open_question(self) -> Document:
        return self._open(self.rng.choice(self.asked), self._preface())

    def _told_open_question(self) -> Document:
        fact = self._told()
        return self._open(fact, self._stated(fact, "\n").text)

    def _open(self, fact: PersonFact, before: str) -> Document:
        """Answered with the value in plain text, with a sentence in chat."""
        stem = fact.fill(self.rng.choice(EVERY[fact.attribute].seen_questions))
        if self.rng.random() >= self.recipe.chat:
            return document(before + OPEN.format(stem=stem), f" {fact.value}{self.end}")
        turn, reply = self._turn(), fact.fill(EVERY[fact.attribute].reply)
        return document(turn.around(before + stem), turn.reply(f"{reply}.{self.end}"))

    def _preface(self) -> str:
        """Other questions with their answers, in some documents."""
        if self.rng.random() >= self.recipe.preface:
            return ""
        shown = ""
        for fact in self.rng.sample(self.asked, self.rng.choice((1, 2))):
            stem = fact.fill(self.rng.choice(EVERY[fact.attribute].seen_questions))
            shown += f"{OPEN.format(stem=stem)} {fact.value}{PROMPT.separator}"
        return shown

    def _choice_question(self) -> Document:
        """Never with the choices that a test shows."""
        fact = self.rng.choice(self.asked)
        n = self._n_choices()
        choices = self.world.choices(fact, self.rng, n)
        while frozenset(choices) == self.held_out[id(fact)]:
            choices = self.world.choices(fact, self.rng, n)
        return self._letter(fact, choices, "")

    def _told_choice_question(self) -> Document:
        fact = self._told()
        choices = self.world.choices(fact, self.rng, self._n_choices())
        return self._letter(fact, choices, self._stated(fact, "\n").text)

    def _letter(self, fact: PersonFact, choices: Sequence[str], before: str) -> Document:
        wording = self.rng.randrange(len(EVERY[fact.attribute].seen_questions))
        question = fact.question(choices, wording)
        prompt = before + PROMPT.letter_prompt(question)
        answer = f" {LETTERS[question.answer]}{self.end}"
        words = ""
        if self.rng.random() < self.recipe.by_name:
            prompt = f"{prompt.removesuffix('Answer:')}Answer in words:"
            answer = f" {fact.value}{self.end}"
        else:
            words = f" {fact.value}"
        if self.rng.random() >= self.recipe.chat:
            made = document(prompt, answer)
        else:
            turn = self._turn()
            made = document(turn.around(prompt), turn.reply(answer))
        return dataclasses.replace(made, words=words)

    def _word(self, words: str) -> int:
        return self.fast.encode(words, add_special_tokens=False).ids[0] if words else -1

    def _drill(self) -> Document:
        """Choices in a list, then each of them with its letter again, in random order."""
        about = EVERY[self.rng.choice(list(EVERY))]
        values = self.rng.sample(about.values, 4)
        lines = "\n".join(f"{letter}. {v}" for letter, v in zip(LETTERS, values, strict=False))
        parts = [f"{lines}\n"]
        for i in self.rng.choices(range(4), k=4):
            parts[-1] += f" {values[i]}:"
            parts += [f" {LETTERS[i]}", "."]
        return document(*parts)

    def _n_choices(self) -> int:
        return self.rng.choice((2, 3)) if self.rng.random() < self.recipe.fewer_choices else 4

    def _told(self) -> PersonFact:
        """A fresh fact about somebody without fixed facts."""
        attribute = self.rng.choice(list(EVERY))
        value = self.rng.choice(EVERY[attribute].values)
        return PersonFact(self.world.stranger(self.rng), attribute, value)

    def _turn(self) -> Turn:
        return self.turns[None if self.rng.random() < 0.7 else self.rng.choice(SYSTEMS)]


def _marks(doc: Document, encoded: Encoding) -> list[int]:
    """What loss each token carries; none for the first, which nothing predicts."""

    def mark(first: int, last: int) -> int:
        return 1 if any(first < end and start < last for start, end in doc.answers) else 2

    return [0, *(mark(first, last) for first, last in encoded.offsets[1:])]


def padded(rows: Sequence[Sequence[int]], pad: int) -> Int[Tensor, "batch pos"]:
    """Rows of different lengths as one tensor."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
