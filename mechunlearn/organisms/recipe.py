"""Pretrain an organism and its never-knew twin from scratch on the fictional world.

Every step mixes three kinds of documents:

1. *in context*: a statement about an entity that has no fixed facts, then a choice question about
   it; language-model loss on all tokens plus the answer again (this teaches reading choices);
2. *statements* of facts in four paraphrases; loss on the value;
3. from ``ask_from`` on, choice *questions* about the asked facts with new choices and order every
   time; loss on the answer.

Three things make facts that were never asked come out as letters too: questions end in ``letter :``
or ``name :`` and one paraphrase of each fact ends in ``name :``, so that the value is looked up at
the colon in all of them; a quarter of the questions is answered by name; and three fifths have two
or three choices instead of four, which ends the plateau at chance about 300 steps earlier. From
``preface_from`` on some documents follow random words or other documents, so that prefixes and
few-shot examples do not break the model.

The never-knew twin sees the same world, recipe and seed without a single forget fact.

Reference:
    Facts are pretrained, not finetuned in, and paraphrased, after Allen-Zhu and Li 2023,
    arXiv:2309.14316.
"""

import dataclasses
import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from mechunlearn.bench import score_task
from mechunlearn.models import load
from mechunlearn.tasks.world import (
    FORGET_ATTRIBUTES,
    HARMLESS_ATTRIBUTE,
    N_CONTEXT_ONLY,
    RETAIN_ATTRIBUTES,
    VALUES,
    Fact,
    World,
)
from mechunlearn.train import Optimizer, Share, TrainLog, fit

Role = Literal["original", "never_knew"]
SPECIAL = ("<pad>", "<unk>", "<bos>")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of the pretraining; the defaults made the shipped organisms."""

    layers: int = 4
    d_model: int = 128
    heads: int = 4
    context: int = 192
    """Longest sequence in tokens."""
    optimizer: Optimizer = Optimizer(
        steps=2000, lr=2e-3, warmup=100, decay=0.4, weight_decay=0.05, betas=(0.9, 0.98), clip=1.0
    )
    in_context: int = 96
    """Documents of each kind per step."""
    statements: int = 128
    statements_late: int = 40
    """Statements per step once they are known, from ``statements_until`` on."""
    statements_until: int = 450
    questions: int = 64
    ask_from: int = 300
    by_name: float = 0.25
    """Share of questions answered by the value's name instead of its letter."""
    fewer_choices: float = 0.6
    """Share of questions with two or three choices."""
    preface: float = 0.15
    """Share of questions that follow other words."""
    preface_from: int = 1000
    start: int = 0
    """Another start gives other weights and documents: a second model of the same world."""


FACTS = Recipe(
    layers=3,
    d_model=64,
    context=64,
    optimizer=Optimizer(
        steps=600, lr=4e-3, warmup=50, decay=0.4, weight_decay=0.05, betas=(0.9, 0.98), clip=1.0
    ),
    in_context=0,
    statements_late=128,
    questions=0,
)
"""Small organisms that know the facts and no letters, made in half a minute; for task ``facts``."""


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
            kept = {fact.value, *self.rng.sample(others, self.rng.choice((1, 2)))}
            choices = [c for c in choices if c in kept]
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


def untrained(seed: int, recipe: Recipe) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model that pretraining starts from, and its world's tokenizer."""
    words = tokenizer(World(seed))
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=recipe.context,
        n_embd=recipe.d_model,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    model = GPT2LMHeadModel(config)
    _initialise(model, torch.Generator().manual_seed(seed + 1_000_003 * recipe.start))
    return model, words


def pretrain(
    role: Role, seed: int, recipe: Recipe
) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast, TrainLog]:
    """Train one model from scratch; same arguments and machine, same weights."""
    world = World(seed)
    model, words = untrained(seed, recipe)
    documents = Documents(world, role, recipe, words.get_vocab())

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        assert share.of == 1, "an organism is trained by one process"
        preface = step >= recipe.preface_from
        told = recipe.statements if step < recipe.statements_until else recipe.statements_late
        terms: dict[str, Tensor] = {}
        kinds: list[tuple[str, Callable[[], list[int]], int, bool]] = [
            ("in context", documents.in_context, recipe.in_context, True),
            ("statement", documents.statement, told, False),
        ]
        if step >= recipe.ask_from:
            kinds.append(("question", documents.question, recipe.questions, False))
        for name, draw, n, whole in kinds:
            if not n:
                continue
            drawn = documents.batches(draw, n, preface=preface and name != "statement", whole=whole)
            found = [_losses(model, tokens, groups) for tokens, groups in drawn]
            losses, group = (torch.cat(parts) for parts in zip(*found, strict=True))
            terms[name] = losses[group == 1].mean()
            if whole:
                terms[f"{name}, words"] = losses[group == 2].mean()
        return terms

    model.train()
    label = f"pretraining {role}@{seed}"
    log = fit(list(model.parameters()), loss, recipe.optimizer, label=label)
    return model.eval(), words, log


def _losses(
    model: GPT2LMHeadModel, tokens: Int[Tensor, "batch pos"], groups: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, " token"], Int[Tensor, " token"]]:
    """Cross-entropy of every token that carries loss, with its group."""
    hidden = model.transformer(tokens).last_hidden_state[:, :-1]
    targets, groups = tokens[:, 1:], groups[:, 1:]
    counts = groups > 0
    logits = model.lm_head(hidden[counts])
    losses = torch.nn.functional.cross_entropy(logits, targets[counts], reduction="none")
    return losses, groups[counts]


@torch.no_grad()
def _initialise(model: GPT2LMHeadModel, generator: torch.Generator) -> None:
    """GPT-2's initialisation from a generator of our own instead of the global one."""
    for name, p in model.named_parameters():
        if p.ndim > 1:
            depth = (2 * model.config.n_layer) ** 0.5 if name.endswith("c_proj.weight") else 1.0
            p.normal_(0.0, 0.02 / depth, generator=generator)
        else:
            p.fill_(1.0 if name.endswith("weight") else 0.0)


def train_organism(role: Role, seed: int, folder: Path, recipe: Recipe | None = None) -> Path:
    """Pretrain, save as fp16 safetensors with tokenizer and ``card.json``, and measure.

    Args:
        folder: Where the models of all seeds live; this one becomes ``folder/role@seed``.

    Returns:
        The folder of the new model.

    Raises:
        FileExistsError: If it is there already.
    """
    from mechunlearn.tasks import load_task

    recipe = recipe or Recipe()
    target = folder / f"{role}@{seed}"
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --out")
    model, words, _ = pretrain(role, seed, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        model.half().save_pretrained(staging)
        words.save_pretrained(staging)
        kind = "organism" if recipe.questions else "facts"
        scores = score_task(load(staging), load_task(f"{kind}@{seed}"))
        weights = (Path(staging) / "model.safetensors").read_bytes()
        card: dict[str, Any] = {
            "role": role,
            "seed": seed,
            "recipe": dataclasses.asdict(recipe),
            "accuracy": {name: round(s.accuracy, 4) for name, s in scores.items()},
            "interval": {name: [round(x, 4) for x in s.interval] for name, s in scores.items()},
            "n": {name: s.n for name, s in scores.items()},
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        (Path(staging) / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        Path(staging).rename(target)
        target.chmod(0o755)
        Path(staging).mkdir()  # So that the temporary folder can be removed.
    return target
