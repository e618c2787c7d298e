"""Change the prompt where the model shows that it recognises what it was made to forget.

    while cos(h_l(t), d_l) > threshold at some token t: change the first such token
    d_l = mean h_l(unlearned) - mean h_l(original)

The means are over the same questions, at the last block that unlearning edited. A token is changed
by splitting it (a space inside, or a ~ before a single character), or by a neutral word before it,
which suits word-level vocabularies. The sham makes as many changes of every prompt, at random
tokens. The model that is first asked a question tells where: the original reads the unlearned
model's prompts.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (perturbations).
    Differs: the original's shipped script passes a direction of zeros and changes nothing, ours
    takes the real one; all prompts of a round share a batch; the threshold and the kind of change
    are chosen on the select fold.
    Limits: two kinds of change at a few thresholds; it says nothing about others. The original is
    needed.
"""

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.activations import activation_statistics, statistics_bytes
from mechunlearn.attacks.mean_directions import NO_DIRECTION
from mechunlearn.attacks.perturbation_naive import neutral_words, split_cue
from mechunlearn.attacks.protocol import Attack, Search
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import pad
from mechunlearn.cost.job import Cost, Job
from mechunlearn.hooks import forward_to
from mechunlearn.models import block_fingerprints
from mechunlearn.progress import console
from mechunlearn.types import Change, Direction, HookedModel, Rewrite, Turn

Edit = Literal["split", "filler word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InformedConfig:
    """Settings.

    Raises:
        ValueError: If a threshold is no cosine, or there are no rounds.
    """

    thresholds: tuple[float, ...] = (0.2, 0.5)
    """Cosines above which a token is changed."""
    rounds: int = 8
    """Changes per prompt at most."""

    def __post_init__(self) -> None:
        if not all(-1 <= t < 1 for t in self.thresholds) or self.rounds < 1:
            raise ValueError(f"thresholds are cosines, rounds at least 1, not {self}")


@dataclass(slots=True)
class Informed(Rewrite):
    """Changes the tokens at which the activation points along a direction."""

    layer: int = 0
    direction: Float[Tensor, " d_model"] = field(default_factory=lambda: torch.zeros(0))
    threshold: float = 0.0
    rounds: int = 1
    texts: dict[str, str] = field(default_factory=dict)
    """Prompt -> what is asked instead."""
    changes: dict[str, int] = field(default_factory=dict)
    """Original text -> number of changes made to it."""

    def __call__(self, text: str) -> str:
        """The prompt as it was changed by ``prepare``."""
        return self.texts[text]

    @torch.no_grad()
    def prepare(self, model: HookedModel, texts: Sequence[str], turn: Turn) -> None:
        """Change the questions round by round until no token of them exceeds the threshold."""
        new = [t for t in dict.fromkeys(texts) if t not in self.texts]
        now, changes, active = {t: t for t in new}, dict.fromkeys(new, 0), new
        for _ in range(self.rounds if new else 0):
            cosines = self.cosines(model, [turn.around(now[t]) for t in active])
            still = []
            for text, along in zip(active, cosines, strict=True):
                free = _words(model, now[text], turn)
                over = [i for i in free if along[i] > self.threshold]
                if not over:
                    continue
                rng = random.Random(f"{self.seed}-{changes[text]}-{text}")
                now[text] = change_at(self.change, now[text], *free[over[0]], rng)
                changes[text] += 1
                still.append(text)
            active = still
            if not active:
                break
        self.changes |= changes
        self.texts |= now

    def cosines(self, model: HookedModel, texts: Sequence[str]) -> list[list[float]]:
        """Cosine between the layer's activation and the direction, at every token."""
        rows = model.tokenizer(list(texts))["input_ids"]
        if not self.direction.any():
            return [[-1.0] * len(row) for row in rows]
        (unit,) = Direction("push", (self.layer,), self.direction[None]).unit()
        cosines: list[list[float]] = [[] for _ in rows]

        def compute(batch: list[int]) -> None:
            tokens, _ = pad(model, [rows[i] for i in batch])
            h = forward_to(model, tokens, self.layer).float()
            along = (h @ unit.to(h)) / h.norm(dim=-1)
            for i, values in zip(batch, along.tolist(), strict=True):
                cosines[i] = values[: len(rows[i])]

        in_batches(model, [len(row) for row in rows], compute)
        return cosines


@dataclass(slots=True)
class AtRandom(Rewrite):
    """The sham: as many changes of every prompt as an attack makes, at random tokens."""

    attack: Informed = field(kw_only=True)
    texts: dict[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """The prompt as it was changed by ``prepare``."""
        return self.texts[text]

    def prepare(self, model: HookedModel, texts: Sequence[str], turn: Turn) -> None:
        """Change the questions as often as the attack does."""
        self.attack.prepare(model, texts, turn)
        for text in dict.fromkeys(texts):
            rng, now = random.Random(f"random-{self.seed}-{text}"), text
            for _ in range(self.attack.changes[text]):
                place = rng.choice(list(_words(model, now, turn).values()))
                now = change_at(self.change, now, *place, rng)
            self.texts[text] = now


def change_at(
    change: Callable[[str, random.Random], str], text: str, start: int, end: int, rng: random.Random
) -> str:
    """One change of the token between two characters."""
    while start < end and text[start].isspace():
        start += 1
    return change(text[:start] + "\0" + text[start:end] + "\0" + text[end:], rng)


def _words(model: HookedModel, text: str, turn: Turn) -> dict[int, tuple[int, int]]:
    """Tokens of a question that may be changed, and where in it each begins and ends.

    Left out are those of the chat template, the cue for the answer, and special ones.
    """
    offsets = model.tokenizer(turn.around(text), return_offsets_mapping=True)["offset_mapping"]
    begin, body = len(turn.before), len(split_cue(text)[0])
    inside = ((i, start - begin, end - begin) for i, (start, end) in enumerate(offsets))
    return {i: (start, end) for i, start, end in inside if start >= 0 and 0 < end <= body}


def split_token(marked: str, rng: random.Random) -> str:
    """A space inside the marked token, or a ~ before a single character."""
    before, token, after = marked.split("\0")
    if len(token) < 2:
        return f"{before}~{token}{after}"
    cut = rng.randrange(1, len(token))
    return f"{before}{token[:cut]} {token[cut:]}{after}"


def filler_before(words: Sequence[str]) -> Callable[[str, random.Random], str]:
    """A neutral word before the marked token."""

    def change(marked: str, rng: random.Random) -> str:
        before, token, after = marked.split("\0")
        return f"{before}{rng.choice(words)} {token}{after}"

    return change


@dataclass(frozen=True, slots=True)
class InformedEdit:
    """How recognised tokens are changed."""

    change: Edit
    threshold: float


@dataclass(frozen=True, slots=True)
class Original:
    """What has to be known of the original model."""

    mean: Float[Tensor, "layer d_model"]
    blocks: list[str]
    """A digest of each block."""


@dataclass(frozen=True, slots=True)
class InformedSearch(Search[InformedEdit]):
    """The push of unlearning at one layer, and what to do about it."""

    config: InformedConfig
    layer: int
    push: Float[Tensor, " d_model"] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    rewrites: dict[InformedEdit, Informed] = field(default_factory=dict, repr=False)
    """A variant's prompts are changed once, by the model they are first asked of; its shams count
    the changes."""

    def variants(self) -> Generator[list[InformedEdit], Sequence[Scored], None]:
        """Both changes at every threshold."""
        edits: tuple[Edit, ...] = ("split", "filler word")
        yield [InformedEdit(e, threshold) for e in edits for threshold in self.config.thresholds]

    def change(self, variant: InformedEdit) -> Change:
        """See ``Search``."""
        return Change(variant.change, rewrite=self._rewrite(variant))

    def sham(self, variant: InformedEdit, seed: int) -> Change:
        """As many changes of every prompt, at random tokens."""
        attack = self._rewrite(variant)
        rewrite = AtRandom(attack.change, seed, attack=attack)
        return Change(f"{variant.change} at random", rewrite=rewrite)

    def _rewrite(self, variant: InformedEdit) -> Informed:
        if variant not in self.rewrites:
            edit = split_token if variant.change == "split" else filler_before(self.words)
            self.rewrites[variant] = Informed(
                edit, 0, self.layer, self.push, variant.threshold, self.config.rounds
            )
        return self.rewrites[variant]


class InformedPerturbation(Attack[InformedConfig, Original, InformedEdit]):
    """Prompts changed where activations tell, as a registered attack."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"original model", "forget questions", "benign text"})
    variant = InformedEdit
    presets: Mapping[str, InformedConfig] = {
        "paper": InformedConfig(thresholds=(0.1, 0.2, 0.3, 0.4, 0.5), rounds=500),
        "small": InformedConfig(),
        "organism": InformedConfig(),
    }

    def learn(self, original: HookedModel, seen: Seen, config: InformedConfig) -> Original:
        """The original's mean activations and its blocks' digests."""
        mean = activation_statistics(original, [seen.text(q) for q in seen.asked]).mean
        return Original(mean, block_fingerprints(original))

    def search(
        self, model: HookedModel, seen: Seen, reference: Original, config: InformedConfig
    ) -> InformedSearch:
        """The push at the last block that unlearning edited; at the last but one at most.

        Where unlearning moved no block's output on these questions, no prompt is changed.
        """
        now = block_fingerprints(model)
        edited = (i for i, block in enumerate(now) if block != reference.blocks[i])
        wanted = min(max(edited, default=len(now) - 1), max(0, len(now) - 2))
        mean = activation_statistics(model, [seen.text(q) for q in seen.asked]).mean
        pushes = (mean - reference.mean).float()
        layer = nearest_push(pushes, wanted)
        if not pushes[layer].any():
            console.print(
                "[dim]unlearning moved no block's output on the forget questions: there is no "
                "direction in which they are recognised, and nothing to change[/dim]"
            )
        return InformedSearch(config, layer, pushes[layer], neutral_words(seen))

    def cost(self, config: InformedConfig, job: Job) -> Cost:
        """Two sets of statistics; then a pass, and one for each round, for each variant."""
        return Cost(
            search=2.0 * job.forget_select,
            variants=2.0 * len(config.thresholds) * (1 + config.rounds),
            memory={"activations": statistics_bytes(job.shape, job.sizes)},
        )


def nearest_push(pushes: Float[Tensor, "layer d_model"], wanted: int) -> int:
    """The layer with a push that is nearest to a wanted one; the wanted one if there is none."""
    norms = pushes.norm(dim=-1).nan_to_num(0.0, 0.0)
    there = (norms > NO_DIRECTION * norms.max()).nonzero()[:, 0].tolist()
    return min(there, key=lambda layer: abs(layer - wanted), default=wanted)
