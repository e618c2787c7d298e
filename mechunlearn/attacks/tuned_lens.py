"""Read the answer at inner layers through a map that benign text taught: the tuned lens.

    logits_l = W_U ln_final(h_l + A_l h_l + b_l)         h_l after block l, at the last prompt token
    A_l, b_l = argmin  mean over tokens of benign text of KL(p_output || softmax(logits_l))

The plain lens reads an inner layer as if it were the last one. Where the model writes the same
thing in another basis there, the plain lens sees nothing and a map finds it. The map is fitted on
the model under test and on text that states none of the forgotten facts: it can neither know them
nor bring them from another model.

Reference:
    Belrose et al. 2023, arXiv:2303.08112 (tuned lens). The start, least squares onto the last
    block's output, is Din et al. 2023, arXiv:2303.09435.
    Differs: from that start, with Adam, on thousands of tokens instead of 250 steps of 2^18; the
    text is the task's own benign text and its retain questions, so that the places where answers
    are given occur in it; the layer is chosen on the select fold.
    Limits: block outputs only; an affine map of one token's state does not read what later blocks
    would have fetched from other tokens. Where less text is there than the width has dimensions,
    the map is mostly its regulariser.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.depth import DepthTrace, curve, guessed
from mechunlearn.attacks.per_model import PerModel
from mechunlearn.attacks.protocol import Attack, Confirm, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench import score_read_outs
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.bench.rows import encode
from mechunlearn.bench.states import states_at
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.hooks import add_flops, unembed
from mechunlearn.presets import Size
from mechunlearn.types import Change, HookedModel, Point, ReadOut

SAMPLE = 256
"""States of each layer that the size of its map is measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedLensConfig:
    """Settings.

    Raises:
        ValueError: If a number makes no sense.
    """

    tokens: int = 16_384
    """Of benign text."""
    length: int = 128
    """Tokens of a text at most: its first ones; of a question its first one and its last ones."""
    steps: int = 250
    """On the divergence, after least squares; 0 leaves it at that (Din et al.)."""
    batch: int = 512
    """Tokens of a step."""
    lr: float = 1e-3
    """Adam's, falling to 0 in a line."""
    ridge: float = 1e-2
    """Of least squares, in units of the states' mean variance."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.tokens, self.length, self.batch) < 1 or self.steps < 0 or not self.ridge > 0:
            raise ValueError(
                f"a tuned lens needs tokens, length, batch >= 1, steps >= 0 and ridge > 0: {self}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Translator:
    """The map of one layer."""

    weight: Float[Tensor, "d_model d_model"]
    bias: Float[Tensor, " d_model"]

    def shift(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """What is added to states, in float32."""
        x = states.float()
        return x @ self.weight.to(x.device).T + self.bias.to(x.device)

    def size(self, states: Float[Tensor, "row d_model"]) -> float:
        """How far it moves states: the mean norm."""
        return float(self.shift(states).norm(dim=1).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """The maps of one model, and states that their size is measured on."""

    translators: Mapping[Point, Translator]
    sample: Mapping[Point, Float[Tensor, "token d_model"]] = field(default_factory=dict)

    def random(self, point: Point, seed: int) -> Translator:
        """A random map that moves states as far, measured."""
        states = self.sample[point].float()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(states.shape[1], states.shape[1], generator=generator)
        placebo = Translator(weight, -(states @ weight.T).mean(dim=0))
        wanted, size = (t.size(states) for t in (self.translators[point], placebo))
        factor = wanted / size if size > 0 else 0.0
        return Translator(factor * weight, factor * placebo.bias)


@dataclass(frozen=True, slots=True, eq=False)
class TunedReadOut:
    """The lens at one block's output, behind the map that was fitted to the model that it reads."""

    point: Point
    lenses: PerModel[Lens]
    placebo: int | None = None
    """Seed of a random map in the place of the fitted one."""

    def logits(
        self, model: HookedModel, resid: Float[Tensor, "row d_model"], ids: Tensor | None = None
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        lens = self.lenses.of(model)
        if self.placebo is None:
            return translated(model, lens.translators[self.point], resid, ids)
        return translated(model, lens.random(self.point, self.placebo), resid, ids)


def translated(
    model: HookedModel,
    translator: Translator,
    resid: Float[Tensor, "row d_model"],
    ids: Tensor | None = None,
) -> Float[Tensor, "row token"]:
    """Logits of some tokens (default: all) read behind a map."""
    return unembed(model, (resid.float() + translator.shift(resid)).to(resid), ids)


def inner_points(model: HookedModel) -> list[Point]:
    """The outputs of all blocks but the last, which is read as it is."""
    return [Point(layer) for layer in range(model.cfg.n_layers - 1)]


def fit_lens(
    model: HookedModel, texts: Sequence[str], config: TunedLensConfig, asked: Sequence[str] = ()
) -> Lens:
    """Maps for every block's output but the last one's; ``asked`` are questions with answers.

    Raises:
        ValueError: If the texts have no tokens, or the model has one block.
    """
    points = inner_points(model)
    if not points:
        raise ValueError("a model of one block has no inner layer to read")
    rows = _rows(model, texts, config, asked)
    final, device = Point(model.cfg.n_layers - 1), model.cfg.device
    kept = states_at(model, rows, [range(len(row)) for row in rows], [*points, final])
    target = kept.pop(final)
    lens = {p: _least_squares(kept[p].to(device), target.to(device), config.ridge) for p in points}
    if config.steps:
        lens = _trained(model, kept, target, lens, config)
    spacing = max(1, len(target) // SAMPLE)
    return Lens(lens, {p: states[::spacing][:SAMPLE] for p, states in kept.items()})


def _rows(
    model: HookedModel, texts: Sequence[str], config: TunedLensConfig, asked: Sequence[str] = ()
) -> list[list[int]]:
    """Texts as tokens, in random order, up to the number of tokens that is wanted."""
    every, generator = (*texts, *asked), torch.Generator().manual_seed(config.seed)
    rows: list[list[int]] = []
    left = config.tokens
    for i in torch.randperm(len(every), generator=generator).tolist():
        row, most = encode(model.tokenizer, every[i]), min(config.length, left)
        if len(row) > most:
            row = row[:most] if i < len(texts) else [row[0], *row[len(row) - most + 1 :]]
        rows += [row] if row else []
        left -= len(row)
        if left <= 0:
            break
    if not rows:
        raise ValueError("a tuned lens is fitted on benign text, and there is none")
    return rows


def _least_squares(
    states: Float[Tensor, "token d_model"], target: Float[Tensor, "token d_model"], ridge: float
) -> Translator:
    """The map from a layer's states to the last block's that is off by least, around no map."""
    x, missing = states.double(), (target.float() - states.float()).double()
    centre, mean = x.mean(dim=0), missing.mean(dim=0)
    x, missing = x - centre, missing - mean
    gram = x.T @ x
    gram += ridge * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), device=x.device)
    weight = torch.linalg.solve(gram, x.T @ missing).T
    return Translator(weight.float(), (mean - weight @ centre).float())


@torch.enable_grad()  # type: ignore[untyped-decorator]
def _trained(
    model: HookedModel,
    kept: Mapping[Point, Float[Tensor, "token d_model"]],
    target: Float[Tensor, "token d_model"],
    start: Mapping[Point, Translator],
    config: TunedLensConfig,
) -> dict[Point, Translator]:
    """Adam on the divergence from the output; all layers share a step's tokens and its output."""
    generator = torch.Generator().manual_seed(config.seed)
    lens = {
        p: Translator(t.weight.clone().requires_grad_(), t.bias.clone().requires_grad_())
        for p, t in start.items()
    }
    leaves = [x for t in lens.values() for x in (t.weight, t.bias)]
    adam = torch.optim.Adam(leaves, lr=config.lr)
    size, device, d = min(config.batch, len(target)), model.cfg.device, model.cfg.d_model
    for step in range(config.steps):
        adam.param_groups[0]["lr"] = config.lr * (1 - step / config.steps)
        drawn = torch.randint(len(target), (size,), generator=generator)
        with torch.no_grad():
            wanted = unembed(model, target[drawn].to(device)).log_softmax(-1)
        for point, translator in lens.items():
            states = kept[point][drawn].to(device)
            read = translated(model, translator, states).log_softmax(-1)
            loss = torch.nn.functional.kl_div(read, wanted, reduction="sum", log_target=True)
            own = [translator.weight, translator.bias]
            grads = torch.autograd.grad(loss / size, own)
            for leaf, grad in zip(own, grads, strict=True):
                leaf.grad = grad
        adam.step()
        add_flops(2 * size * d * (model.cfg.d_vocab + 3 * len(lens) * (model.cfg.d_vocab + d)))
    return {p: Translator(t.weight.detach(), t.bias.detach()) for p, t in lens.items()}


def depth_trace(model: HookedModel, confirm: Confirm, lenses: PerModel[Lens]) -> DepthTrace:
    """The reported questions through the model's own tuned lens and through the plain one."""
    points = inner_points(model)
    final = LensReadOut(Point(model.cfg.n_layers - 1))
    tuned: list[ReadOut] = [*(TunedReadOut(p, lenses) for p in points), final]
    plain: list[ReadOut] = [*(LensReadOut(p) for p in points), final]
    scores = score_read_outs(
        model, confirm.forget, confirm.prompt, [*tuned, *plain], scoring=confirm.scoring
    )
    parts = {"tuned lens": scores[: len(tuned)], "plain lens": scores[len(tuned) :]}
    return DepthTrace(
        curves=tuple(
            curve(name, dict(enumerate(of)), nothing=guessed(confirm)) for name, of in parts.items()
        )
    )


@dataclass(frozen=True, slots=True)
class TunedLensSearch(Search[Point]):
    """The places where a model can be read."""

    points: Sequence[Point]
    lenses: PerModel[Lens]

    def variants(self) -> Generator[Sequence[Point], Sequence[Scored], None]:
        """Every inner layer."""
        yield self.points

    def change(self, variant: Point) -> Change:
        """See ``Search``."""
        read_out = TunedReadOut(variant, self.lenses)
        return Change(f"tuned lens at {variant.name}", read_out=read_out)

    def sham(self, variant: Point, seed: int) -> Change:
        """The lens behind a random map that moves states as far."""
        read_out = TunedReadOut(variant, self.lenses, seed)
        return Change("random map of equal size", read_out=read_out)

    def view(self, variant: Point) -> View:
        """See ``depth_trace``."""
        return partial(depth_trace, lenses=self.lenses)


class TunedLens(Attack[TunedLensConfig, None, Point]):
    """The tuned lens as a registered attack."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"benign text", "retain facts"})
    variant = Point
    presets: Mapping[str, TunedLensConfig] = {
        "organism": TunedLensConfig(tokens=8192, steps=200, batch=256),
        "small": TunedLensConfig(tokens=4096, steps=0),
        "large": TunedLensConfig(),
    }
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}
    limited: ClassVar[bool] = False

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: TunedLensConfig
    ) -> TunedLensSearch:
        """Fit the lens on benign text and on retain questions with their answers."""
        asked = [(e.prompt + e.answer) for e in map(seen.example, seen.retain)]
        texts = (*seen.plain_text, *seen.retain_text)
        lenses = PerModel(partial(fit_lens, texts=texts, config=config, asked=asked))
        lenses.of(model)
        return TunedLensSearch(inner_points(model), lenses)

    def cost(self, config: TunedLensConfig, job: Job) -> Cost:
        """A forward of the text; then products with the unembedding for every layer."""
        shape, trained = job.shape, config.steps * config.batch
        products = shape.d_model * (
            shape.vocabulary + BACKWARD * (shape.layers - 1) * (shape.vocabulary + shape.d_model)
        )
        tokens = config.tokens + trained * products / shape.matrices
        kept = float(job.sizes.number * config.tokens * shape.layers * shape.d_model)
        maps = 4.0 * 4 * (shape.layers - 1) * shape.d_model**2
        logits = 4.0 * 4 * config.batch * shape.vocabulary if config.steps else 0.0
        states = kept if job.sizes.kind == "cpu" else kept / shape.layers
        return Cost(
            search=tokens / job.sizes.longest,
            variants=1.0,
            memory={"maps": maps, "states": states, "activations": logits},
        )
