"""What an organism reads while it is trained: documents as tokens, with the loss each carries."""

import random
from collections.abc import Callable

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mechunlearn.organisms.settings import Recipe, Role
from mechunlearn.tasks.world import (
    FORGET_ATTRIBUTES,
    HARMLESS_ATTRIBUTE,
    N_CONTEXT_ONLY,
    RETAIN_ATTRIBUTES,
    VALUES,
    Fact,
    World,
)

SPECIAL = ("<pad>", "<unk>", "<bos>")


def tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The word-level tokenizer of a world; adds ``<bos>`` in front, splits at spaces."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *world.words()])}
    fast = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<bos>",
    )


class Documents:
    """Draws training documents as token ids with a loss group per token."""

    def __init__(self, world: World, role: Role, recipe: Recipe, ids: dict[str, int]) -> None:
        self.world, self.recipe, self.ids = world, recipe, ids
        start = f"-{recipe.start}" if recipe.start else ""
        self.rng = random.Random(f"documents-{world.seed}{start}")
        self.facts = world.retain + world.harmless
        if role == "original":
            self.facts = world.forget + self.facts
        self.asked = [f for f in self.facts if f.asked]
        self.held_out = {id(f): frozenset(world.test_choices(f, 0)) for f in self.facts}
        minerals = (*FORGET_ATTRIBUTES, HARMLESS_ATTRIBUTE)
        self.strangers = [
            (name, attributes)
            for domain, attributes in (("mineral", minerals), ("bird", RETAIN_ATTRIBUTES))
            for name in world.names[domain][-N_CONTEXT_ONLY:]
        ]

    def encode(self, text: str) -> list[int]:
        """Word ids without ``<bos>``."""
        return [self.ids[word] for word in text.split()]

    def statement(self) -> list[int]:
        """One fact in one paraphrase; the value is the last token."""
        fact = self.rng.choice(self.facts)
        return self.encode(self.rng.choice(fact.statements()))

    def _asked(self, fact: Fact, choices: list[str]) -> list[int]:
        if self.rng.random() < self.recipe.fewer_choices:
            others = [c for c in choices if c != fact.value]
            shorter = {fact.value, *self.rng.sample(others, self.rng.choice((1, 2)))}
            choices = [c for c in choices if c in shorter]
        by_name = self.rng.random() < self.recipe.by_name
        shown = " ".join(f"{letter} {c}" for letter, c in zip("ABCD", choices, strict=False))
        answer = (
            f"name : {fact.value}" if by_name else f"letter : {'ABCD'[choices.index(fact.value)]}"
        )
        stem = fact.question(choices, "").stem
        return self.encode(f"question {stem} {shown} {answer}")

    def question(self) -> list[int]:
        """A choice question about a fact; never with the choices that a test shows."""
        fact = self.rng.choice(self.asked)
        choices = self.world.choices(fact, self.rng)
        while frozenset(choices) == self.held_out[id(fact)]:
            choices = self.world.choices(fact, self.rng)
        return self._asked(fact, choices)

    def in_context(self) -> list[int]:
        """A statement with a fresh random value, then the question about it."""
        entity, attributes = self.rng.choice(self.strangers)
        attribute = self.rng.choice(attributes)
        value = self.rng.choice(VALUES[attribute].split())
        fact = Fact(entity, attribute, value, fold="confirm")
        told = self.encode(f"{self.rng.choice(fact.statements())} .")
        return told + self._asked(fact, self.world.choices(fact, self.rng))

    def preface(self) -> list[int]:
        """Words in front of a document: random ones, or one or two other questions."""
        if self.rng.random() < 0.5:
            return self.rng.choices(range(len(SPECIAL), len(self.ids)), k=self.rng.randint(1, 20))
        dot = self.encode(".")
        return [t for _ in range(self.rng.randint(1, 2)) for t in (*self.question(), *dot)]

    def batches(
        self, draw: Callable[[], list[int]], n: int, *, preface: bool, whole: bool
    ) -> list[tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]]:
        """``n`` padded documents and, per token, 0 (no loss), 1 (answer) or 2 (other words).

        Args:
            preface: Whether some follow other words; these form a batch of their own.
            whole: Whether the words before the answer carry loss too.
        """
        plain: list[tuple[list[int], list[int]]] = []
        prefaced: list[tuple[list[int], list[int]]] = []
        for _ in range(n):
            before = self.preface() if preface and self.rng.random() < self.recipe.preface else []
            document = draw()
            marks = [0] * (1 + len(before)) + [2 if whole else 0] * (len(document) - 1) + [1]
            row = [self.ids["<bos>"], *before, *document]
            (prefaced if before else plain).append((row, marks))
        return [self._padded(rows) for rows in (plain, prefaced) if rows]

    def _padded(
        self, rows: list[tuple[list[int], list[int]]]
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        width, pad = max(len(row) for row, _ in rows), self.ids["<pad>"]
        tokens = torch.tensor([row + [pad] * (width - len(row)) for row, _ in rows])
        groups = torch.tensor([marks + [0] * (width - len(marks)) for _, marks in rows])
        return tokens, groups
