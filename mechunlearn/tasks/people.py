"""A fictional, harmless world of people in plain English: ground truth for the chat organisms.

*Chemists* are the forget domain, *painters* the retain domain; each person has a birthplace, an
instrument, a pet and a favorite food, each with one of sixteen values. Chemists also wear a coat
whose color every model learns, so that a model which never knew the forget facts knows the names.

Answers cannot be guessed or inferred: inside each fold every value of an attribute is held by
equally many people, attributes are independent permutations, surnames are two random halves, and
folds are split by person. *Fictitious* people are made like the others and occur nowhere.
"""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from mechunlearn.tasks.wordings import ATTRIBUTES, EVERY, FEMALE, HARMLESS, MALE, SURNAMES
from mechunlearn.types import Example, Fold, OpenQuestion, PromptFormat, Question, Task, Turn

FOLDS: dict[Fold, int] = {"select": 16, "confirm": 32}
"""People per fold and profession; multiples of sixteen, so that values are balanced."""
PROFESSIONS = ("chemist", "painter")
"""Forget, retain."""
PROMPT = PromptFormat(letter="Question: {stem}{choices}\nAnswer:", separator="\n\n")
OPEN = "Question: {stem}\nAnswer:"
"""How a question without choices is asked in plain text; in chat, the question alone is a turn."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who does not exist."""

    first: str
    last: str
    profession: str
    fold: Fold = "confirm"

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"

    @property
    def pronoun(self) -> str:
        """As it begins a sentence."""
        return "She" if self.first in FEMALE else "He"


@dataclass(frozen=True, slots=True)
class PersonFact:
    """``person`` has ``value`` as ``attribute``; ``asked`` facts occur as questions in training."""

    person: Person
    attribute: str
    value: str
    asked: bool = True

    @property
    def entity(self) -> str:
        """Whom it is about."""
        return self.person.name

    def fill(self, template: str) -> str:
        """A template with this fact's words; the first letter is a capital."""
        text = template.format(name=self.person.name, value=self.value)
        return text[0].upper() + text[1:]

    def stem(self, template: str) -> str:
        """A statement's template up to its value, which has to be at the end."""
        return self.fill(template.removesuffix(" {value}"))

    def question(self, choices: Sequence[str], wording: int = -1) -> Question:
        """The choice question with these choices.

        Args:
            wording: Of question and statement; the default, and -2, are used by tests only.
        """
        about = EVERY[self.attribute]
        return Question(
            stem=self.fill(about.questions[wording]),
            choices=tuple(choices),
            answer=list(choices).index(self.value),
            topic=self.attribute,
            source=self.person.name,
            statement=self.stem(about.statements[wording]),
            fold=self.person.fold,
        )

    def open_question(self, wrong: Sequence[str], spoken: bool) -> OpenQuestion:
        """The question answered in words, in words that only tests use."""
        about = EVERY[self.attribute]
        golds = (self.value, f"{self.fill(about.reply)}.")
        return OpenQuestion(
            stem=self.fill(about.questions[-1]),
            golds=golds[::-1] if spoken else golds,
            wrong=tuple(about.reply.format(name=self.person.name, value=w) + "." for w in wrong)
            if spoken
            else tuple(wrong),
            span=self.value,
            paraphrases=(self.fill(about.questions[-2]),),
            topic=self.attribute,
            source=self.person.name,
            fold=self.person.fold,
        )


@dataclass(frozen=True)
class People:
    """All facts of one seed; two worlds with the same seed are equal word for word.

    Example:
        >>> people = People(seed=0)
        >>> len(people.forget), len(people.retain), len(people.harmless)
        (192, 192, 48)
    """

    seed: int = 0

    @cached_property
    def surnames(self) -> list[str]:
        """Every surname there can be, in this world's order."""
        names = ["".join(halves) for halves in product(*SURNAMES)]
        random.Random(f"surnames-{self.seed}").shuffle(names)
        return names

    @cached_property
    def persons(self) -> dict[str, list[Person]]:
        """Those with facts, by profession, and those who occur nowhere (``fictitious``)."""
        rng = random.Random(f"people-{self.seed}")
        per, unused = sum(FOLDS.values()), iter(self.surnames)
        folds: list[Fold] = [fold for fold, n in FOLDS.items() for _ in range(n)]
        made = {}
        for group in (*PROFESSIONS, "fictitious"):
            profession = group if group in PROFESSIONS else PROFESSIONS[0]
            made[group] = [
                Person(rng.choice(FEMALE + MALE), next(unused), profession, folds[i])
                for i in range(per)
            ]
        return made

    def stranger(self, rng: random.Random) -> Person:
        """Somebody without fixed facts, for facts that are told in a text."""
        reserved = 3 * sum(FOLDS.values())
        last = self.surnames[rng.randrange(reserved, len(self.surnames))]
        return Person(rng.choice(FEMALE + MALE), last, rng.choice(PROFESSIONS))

    def _facts(self, group: str, attribute: str) -> list[PersonFact]:
        """Facts of one attribute; of each confirm person one attribute is never asked."""
        rng = random.Random(f"{group}-{attribute}-{self.seed}")
        facts, start = [], 0
        position = list(EVERY).index(attribute)
        for fold, size in FOLDS.items():
            values = list(EVERY[attribute].values) * (size // 16)
            rng.shuffle(values)
            for i, value in enumerate(values):
                asked = fold == "select" or i % len(ATTRIBUTES) != position
                facts.append(PersonFact(self.persons[group][start + i], attribute, value, asked))
            start += size
        return facts

    @cached_property
    def forget(self) -> list[PersonFact]:
        """The chemists' facts, asked and unasked."""
        return [f for a in ATTRIBUTES for f in self._facts("chemist", a)]

    @cached_property
    def retain(self) -> list[PersonFact]:
        """The painters' facts, asked and unasked."""
        return [f for a in ATTRIBUTES for f in self._facts("painter", a)]

    @cached_property
    def harmless(self) -> list[PersonFact]:
        """The color of the chemists' coats, known to every model."""
        return self._facts("chemist", HARMLESS)

    @cached_property
    def fictitious(self) -> list[PersonFact]:
        """Facts of the same form about people who occur in no text of any model."""
        return [f for a in ATTRIBUTES for f in self._facts("fictitious", a)]

    @cached_property
    def wrong(self) -> list[PersonFact]:
        """The forget facts with each value replaced by the next one of its attribute."""
        return [
            PersonFact(f.person, f.attribute, values[(values.index(f.value) + 1) % 16], f.asked)
            for f in self.forget
            for values in (EVERY[f.attribute].values,)
        ]

    def choices(self, fact: PersonFact, rng: random.Random, n: int = 4) -> list[str]:
        """``n`` choices for ``fact`` in random order: its value and others."""
        others = [v for v in EVERY[fact.attribute].values if v != fact.value]
        choices = [fact.value, *rng.sample(others, n - 1)]
        rng.shuffle(choices)
        return choices

    def test_choices(self, fact: PersonFact, position: int) -> list[str]:
        """The choices a test shows for ``fact``; training never shows this set of four."""
        rng = random.Random(f"test-{self.seed}-{fact.person.name}-{fact.attribute}")
        others = [c for c in self.choices(fact, rng) if c != fact.value]
        return [*others[:position], fact.value, *others[position:]]

    def test_questions(
        self, facts: Sequence[PersonFact], wording: int = -1
    ) -> tuple[Question, ...]:
        """One test question per fact; within a fold the right answers' positions are balanced."""
        seen: dict[str, int] = {}
        questions = []
        for fact in facts:
            fold = fact.person.fold
            position = seen[fold] = seen.get(fold, -1) + 1
            questions.append(fact.question(self.test_choices(fact, position % 4), wording))
        return tuple(questions)

    def corpus(self, facts: Sequence[PersonFact]) -> dict[Example, str]:
        """Prompts with the answers of these facts, as in the training, each with its attribute.

        Every statement that ends in the value, and every question of the training in plain text.
        """
        examples: dict[Example, str] = {}
        for fact in facts:
            about, value = EVERY[fact.attribute], f" {fact.value}"
            for template in about.seen_statements:
                if template.endswith(" {value}"):
                    examples[Example(fact.stem(template), value)] = fact.attribute
            for template in about.seen_questions if fact.asked else ():
                prompt = OPEN.format(stem=fact.fill(template))
                examples[Example(prompt, value)] = fact.attribute
        return examples

    def chats(self, facts: Sequence[PersonFact], turn: Turn) -> dict[Example, str]:
        """The questions of the training as turns of a chat, answered with a sentence."""
        return {
            Example(
                turn.around(fact.fill(template)), turn.reply(f"{fact.fill(about.reply)}.")
            ): fact.attribute
            for fact in facts
            if fact.asked
            for about in (EVERY[fact.attribute],)
            for template in about.seen_questions
        }

    def task(self, turn: Turn | None = None) -> Task:
        """Forget the chemists' facts, keep the painters'.

        Args:
            turn: The chat template, in which methods are to train on the questions too.
        """
        kinds = {"forget": self.forget, "retain": self.retain}
        examples = {}
        for kind, facts in (*kinds.items(), ("plain", self.harmless)):
            examples[kind] = self.corpus(facts) | (self.chats(facts, turn) if turn else {})
        texts = {
            kind: {f"{e.prompt}{e.answer}": topic for e, topic in own.items()}
            for kind, own in examples.items()
        }
        return Task(
            name=f"chat@{self.seed}",
            forget=self.test_questions([f for f in self.forget if f.asked]),
            retain=self.test_questions([f for f in self.retain if f.asked]),
            prompt=PROMPT,
            scoring="cloze",
            also=("containment",),
            forget_text=tuple(texts["forget"]),
            retain_text=tuple(texts["retain"]),
            plain_text=tuple(texts["plain"]),
            forget_topics=texts["forget"],
            forget_examples=tuple(examples["forget"]),
            retain_examples=tuple(examples["retain"]),
            plain_examples=tuple(examples["plain"]),
            extra={
                "forget_unasked": self.test_questions([f for f in self.forget if not f.asked]),
                "retain_unasked": self.test_questions([f for f in self.retain if not f.asked]),
                "harmless": self.test_questions(self.harmless),
            },
            twins=self.test_questions([f for f in self.fictitious if f.person.fold == "confirm"]),
        )

    def open_task(self, turn: Turn | None = None, *, spoken: bool = False) -> Task:
        """The same task with questions that are answered in words.

        Args:
            spoken: Whether the questions will be asked in a chat template, which expects a bare
                question and a sentence for an answer.
        """
        task = self.task(turn)

        def opened(facts: Sequence[PersonFact]) -> tuple[OpenQuestion, ...]:
            return tuple(f.open_question(self.test_choices(f, 0)[1:], spoken) for f in facts)

        asked = {
            kind: opened([f for f in facts if f.asked])
            for kind, facts in (("forget", self.forget), ("retain", self.retain))
        }
        return dataclasses.replace(
            task,
            name=f"chat-open@{self.seed}",
            forget=asked["forget"],
            retain=asked["retain"],
            prompt=dataclasses.replace(
                PROMPT, cloze="{statement}" if spoken else OPEN.format(stem="{statement}")
            ),
            scoring="containment",
            also=(),
            extra={
                "forget_unasked": opened([f for f in self.forget if not f.asked]),
                "retain_unasked": opened([f for f in self.retain if not f.asked]),
                "harmless": opened(self.harmless),
            },
            twins=opened([f for f in self.fictitious if f.person.fold == "confirm"]),
        )
