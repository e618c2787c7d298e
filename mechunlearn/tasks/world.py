"""A fictional, harmless world whose every fact is known: ground truth for organisms.

Two domains. *Minerals* are the forget domain, *birds* the retain domain; each entity has three
attributes with one of sixteen values. Minerals also have a harmless attribute (their shape) that
every model learns, so that a model which never knew the forget facts still knows the names.

What makes the answers impossible to guess or infer: inside each fold every value of an attribute
is held by equally many entities, attributes are independent permutations, names are random
syllables, and folds are split by entity.
"""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mechunlearn.types import LETTERS, Example, Fold, PromptFormat, Question, Task

N_VALUES = 16
"""Values per attribute; with equal frequency an exact match is guessed with 1/16."""
FOLD_SIZES: dict[Fold, int] = {"select": 64, "confirm": 96}
"""Entities per fold and domain; both are multiples of ``N_VALUES`` so each fold is balanced."""
N_CONTEXT_ONLY = 48
"""Entities per domain that have no fixed facts and appear only with facts given in context."""

VALUES = {
    "glow": "amber azure coral crimson ebony emerald indigo ivory "
    "lilac ochre pearl ruby saffron silver teal violet",
    "quarry": "canyon cavern cliff crater delta dune fjord geyser "
    "glacier gorge island lagoon marsh plateau ravine valley",
    "craft": "anchors beads bells buttons candles chimes combs dice "
    "flutes goblets kites lamps mirrors needles spoons vases",
    "shape": "arch barrel bowl cone crescent cross cube disc "
    "drop fan helix oval prism ring spiral star",
    "song": "buzz chirp click coo croak hum purr rattle "
    "squeak trill tweet wail warble whistle whoop yodel",
    "nest": "attic barn bramble chimney fern gutter hedge ivy "
    "log moss mud orchard reed shed thatch willow",
    "feast": "acorns barley berries clover crumbs figs grapes honey "
    "maize millet nectar nuts oats plums rice seeds",
}
"""Attribute -> its sixteen single-word values."""

FORGET_ATTRIBUTES = ("glow", "quarry", "craft")
RETAIN_ATTRIBUTES = ("song", "nest", "feast")
HARMLESS_ATTRIBUTE = "shape"

STATEMENTS = (
    "the {attribute} of {entity} is {value}",
    "{entity} has the {attribute} {value}",
    "as for its {attribute} {entity} comes with {value}",
    "question what is the {attribute} of {entity} ? name : {value}",
)
"""Paraphrases of one fact; the value is always the last word."""

PROMPT = PromptFormat(
    letter="question {stem}{choices} letter :",
    choice=" {letter} {text}",
    cloze="{statement}",
    ending=" {text}",
    separator=" . ",
)
"""How the organisms are asked; the same words as in their training."""


REFUSALS = (" <unk>",)
"""The organisms' language has no word for not knowing; its token for the unknown serves as one."""


def _last_word_asked(text: str) -> Example:
    prompt, answer = text.rsplit(" ", 1)
    return Example(prompt, f" {answer}")


@dataclass(frozen=True, slots=True)
class Fact:
    """``entity`` has ``value`` as its ``attribute``; ``asked`` facts occur as choice questions."""

    entity: str
    attribute: str
    value: str
    fold: Fold
    asked: bool = True

    def question(self, choices: Sequence[str], topic: str) -> Question:
        """The four-choice question about this fact with the given choices, in that order."""
        return Question(
            stem=f"what is the {self.attribute} of {self.entity} ?",
            choices=tuple(choices),
            answer=list(choices).index(self.value),
            topic=topic,
            source=self.entity,
            statement=f"the {self.attribute} of {self.entity} is",
            fold=self.fold,
        )

    def statements(self) -> list[str]:
        """Every paraphrase of the fact."""
        return [
            t.format(attribute=self.attribute, entity=self.entity, value=self.value)
            for t in STATEMENTS
        ]


@dataclass(frozen=True)
class World:
    """All facts of one seed; two worlds with the same seed are equal word for word.

    Example:
        >>> world = World(seed=0)
        >>> len(world.forget), len(world.retain)
        (480, 480)
        >>> world == World(seed=0)
        True
    """

    seed: int = 0

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Domain -> names: the entities with facts first, then the context-only ones."""
        rng = random.Random(f"names-{self.seed}")
        taken = {word for values in VALUES.values() for word in values.split()}
        per_domain = sum(FOLD_SIZES.values()) + N_CONTEXT_ONLY
        names: list[str] = []
        while len(names) < 2 * per_domain:
            name = "".join(
                rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3)
            ) + rng.choice("nrlsx")
            if name not in taken:
                taken.add(name)
                names.append(name)
        return {"mineral": names[:per_domain], "bird": names[per_domain:]}

    def _facts(self, domain: str, attribute: str) -> list[Fact]:
        """Balanced facts of one attribute; one confirm entity per value is never asked."""
        rng = random.Random(f"{attribute}-{self.seed}")
        facts, start = [], 0
        for fold, size in FOLD_SIZES.items():
            entities = self.names[domain][start : start + size]
            values = VALUES[attribute].split() * (size // N_VALUES)
            rng.shuffle(values)
            unasked: set[str] = set()
            for entity, value in zip(entities, values, strict=True):
                asked = fold != "confirm" or value in unasked
                if fold == "confirm":
                    unasked.add(value)
                facts.append(Fact(entity, attribute, value, fold, asked))
            start += size
        return facts

    @cached_property
    def forget(self) -> list[Fact]:
        """The forget facts, asked and unasked."""
        return [f for a in FORGET_ATTRIBUTES for f in self._facts("mineral", a)]

    @cached_property
    def retain(self) -> list[Fact]:
        """The retain facts, asked and unasked."""
        return [f for a in RETAIN_ATTRIBUTES for f in self._facts("bird", a)]

    @cached_property
    def harmless(self) -> list[Fact]:
        """The harmless attribute of the forget entities, known to every model."""
        return self._facts("mineral", HARMLESS_ATTRIBUTE)

    def words(self) -> list[str]:
        """The whole vocabulary without special tokens, in a fixed order."""
        fixed = " ".join(STATEMENTS).format(attribute="", entity="", value="")
        letters = "A B C D letter ."
        values = " ".join(VALUES.values())
        names = " ".join(self.names["mineral"] + self.names["bird"])
        return list(dict.fromkeys(f"{fixed} {letters} {' '.join(VALUES)} {values} {names}".split()))

    def choices(self, fact: Fact, rng: random.Random) -> list[str]:
        """Four choices for ``fact`` in random order: its value and three others."""
        others = [v for v in VALUES[fact.attribute].split() if v != fact.value]
        choices = [fact.value, *rng.sample(others, 3)]
        rng.shuffle(choices)
        return choices

    def test_questions(self, facts: Sequence[Fact]) -> tuple[Question, ...]:
        """One test question per fact; within a fold the right answers' positions are balanced."""
        seen: dict[str, int] = {}
        questions = []
        for fact in facts:
            position = seen[fact.fold] = seen.get(fact.fold, -1) + 1
            questions.append(fact.question(self.test_choices(fact, position % 4), fact.attribute))
        return tuple(questions)

    def texts(self, facts: Sequence[Fact]) -> list[tuple[str, str]]:
        """A corpus of the facts, each text with its attribute.

        Every paraphrase, and three choice questions with their answer; the answer is the last word.
        """
        rng = random.Random(f"texts-{self.seed}")
        texts = self._stated(facts)
        for fact in facts:
            for _ in range(3 if fact.asked else 0):
                question = fact.question(self.choices(fact, rng), fact.attribute)
                text = f"{PROMPT.letter_prompt(question)} {'ABCD'[question.answer]}"
                texts.append((text, fact.attribute))
        return texts

    def told_examples(self) -> tuple[Example, ...]:
        """Choice questions about birds that have no facts; each is told just before it is asked."""
        rng = random.Random(f"told-{self.seed}")
        examples = []
        for entity in self.names["bird"][-N_CONTEXT_ONLY:]:
            for attribute in RETAIN_ATTRIBUTES:
                fact = Fact(entity, attribute, rng.choice(VALUES[attribute].split()), "select")
                question = fact.question(self.choices(fact, rng), attribute)
                prompt = f"{rng.choice(fact.statements()[:3])} . {PROMPT.letter_prompt(question)}"
                examples.append(Example(prompt, f" {LETTERS[question.answer]}"))
        return tuple(examples)

    def task(self) -> Task:
        """Forget the minerals' facts, keep the birds'."""
        asked = {d: [f for f in facts if f.asked] for d, facts in self._domains().items()}
        unasked = {d: [f for f in facts if not f.asked] for d, facts in self._domains().items()}
        forget, retain = self.texts(self.forget), self.texts(self.retain)
        return Task(
            name=f"organism@{self.seed}",
            forget=self.test_questions(asked["forget"]),
            retain=self.test_questions(asked["retain"]),
            prompt=PROMPT,
            forget_text=tuple(text for text, _ in forget),
            retain_text=tuple(text for text, _ in retain),
            plain_text=tuple(text for text, _ in self.texts(self.harmless)),
            forget_topics=dict(forget),
            forget_examples=tuple(_last_word_asked(text) for text, _ in forget),
            retain_examples=tuple(_last_word_asked(text) for text, _ in retain),
            plain_examples=self.told_examples(),
            refusals=REFUSALS,
            extra={
                "forget_unasked": self.test_questions(unasked["forget"]),
                "retain_unasked": self.test_questions(unasked["retain"]),
                "harmless": self.test_questions(self.harmless),
            },
            twins=self.twins(),
        )

    def twins(self) -> tuple[Question, ...]:
        """Questions about minerals that have no facts; the right answers are drawn at random.

        Every model knows their names, from documents in which such a mineral gets a fresh value
        each time: what it answers here without having been told is guessed.
        """
        facts = []
        for attribute in FORGET_ATTRIBUTES:
            values = VALUES[attribute].split() * (N_CONTEXT_ONLY // N_VALUES)
            random.Random(f"twins-{attribute}-{self.seed}").shuffle(values)
            names = self.names["mineral"][-N_CONTEXT_ONLY:]
            facts += [Fact(n, attribute, v, "confirm") for n, v in zip(names, values, strict=True)]
        return self.test_questions(facts)

    def facts_task(self) -> Task:
        """The same facts as statements to complete: for models that never saw a choice question."""
        forget, retain = self._stated(self.forget), self._stated(self.retain)
        return dataclasses.replace(
            self.task(),
            name=f"facts@{self.seed}",
            forget=self.test_questions(self.forget),
            retain=self.test_questions(self.retain),
            scoring="cloze",
            forget_text=tuple(text for text, _ in forget),
            retain_text=tuple(text for text, _ in retain),
            plain_text=tuple(text for text, _ in self._stated(self.harmless)),
            forget_topics=dict(forget),
            forget_examples=tuple(_last_word_asked(text) for text, _ in forget),
            retain_examples=tuple(_last_word_asked(text) for text, _ in retain),
            plain_examples=(),
            extra={"harmless": self.test_questions(self.harmless)},
        )

    def _stated(self, facts: Sequence[Fact]) -> list[tuple[str, str]]:
        return [(text, fact.attribute) for fact in facts for text in fact.statements()]

    def _domains(self) -> dict[str, list[Fact]]:
        return {"forget": self.forget, "retain": self.retain}

    def test_choices(self, fact: Fact, position: int) -> list[str]:
        """The choices a test shows for ``fact``; training never shows this set of four."""
        rng = random.Random(f"test-{self.seed}-{fact.entity}-{fact.attribute}")
        others = [c for c in self.choices(fact, rng) if c != fact.value]
        return [*others[:position], fact.value, *others[position:]]
