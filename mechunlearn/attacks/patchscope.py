"""Let the model's own upper layers say what an inner state holds, behind another question.

    logits = output at the last token of a target prompt, where h_l* is h_l of the asked prompt

A lens reads a state with the final norm and unembedding alone. Here the blocks after ``l*`` go on
computing with it, but what they can look back at is an unrelated question: whatever makes the model
hold back in sight of the forgotten names is not there, and neither are the names.

Reference:
    Ghandeharioun et al. 2024, arXiv:2401.06102 (Patchscopes; the next-token setting, where source
    and target are the last tokens).
    Differs: the target prompts are unrelated questions of the task's own form instead of an
    identity prompt, since answers are letters or continue statements; layers and prompt are chosen
    on the select fold, and the sham puts in random states of the same norms.
    Limits: what the blocks after ``l*`` would have fetched from the asked prompt is lost; every
    token of a longer answer is decoded by itself. The model's own knowledge answers: read it beside
    the same on a model that never knew.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.attacks.depth import DepthTrace, curve, guessed
from mechunlearn.attacks.protocol import Attack, Confirm, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench import score_read_outs
from mechunlearn.bench.batches import token_budget
from mechunlearn.bench.rows import encode
from mechunlearn.cost.job import Cost, Job
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.presets import Size
from mechunlearn.types import Change, HookedModel, Point

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchscopeConfig:
    """Settings.

    Raises:
        ValueError: If there are fewer than two layers, or no prompt.
    """

    layers: int = 8
    """Source layers that are tried at most, evenly spaced."""
    prompts: int = 1
    """Target prompts."""

    def __post_init__(self) -> None:
        if self.layers < 2 or self.prompts < 1:
            raise ValueError(f"a patchscope needs layers >= 2 and prompts >= 1: {self}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a state is taken from and where it is put."""

    source: int
    """Layer of the asked prompt."""
    target: int
    """Layer of the target prompt."""
    prompt: int
    """Which target prompt."""


@dataclass(frozen=True, slots=True)
class ScopeReadOut:
    """The output of a target prompt in which the state stands at the last token."""

    point: Point
    target: int
    tokens: Tokens
    placebo: int | None = None
    """Seed of random states of the same norms."""

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        states = resid if self.placebo is None else _random(resid, self.placebo)
        at_once = max(1, token_budget(model) // len(self.tokens))
        return torch.cat([self._decoded(model, part, ids) for part in states.split(at_once)])

    def _decoded(
        self, model: HookedModel, states: Float[Tensor, "row d_model"], ids: Tensor | None
    ) -> Float[Tensor, "row token"]:
        tokens = torch.tensor(self.tokens, device=model.cfg.device).repeat(len(states), 1)
        last = torch.arange(1, len(states) + 1, device=tokens.device) * tokens.shape[1] - 1
        final = Point(model.cfg.n_layers - 1)

        def put(activation: Tensor, hook: object) -> Tensor:
            changed = activation.clone()
            changed[:, -1] = states.to(activation)
            return changed

        count_flops(model, tokens.numel())
        hooks = [(Point(self.target).name, put)]
        with model.hooks(fwd_hooks=hooks), capture(model, [final], last) as found:
            run_blocks(model, tokens)
        return unembed(model, found[final], ids)


def _random(states: Float[Tensor, "row d_model"], seed: int) -> Float[Tensor, "row d_model"]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(states.shape, generator=generator).to(states.device)
    size = states.float().norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
    return (size * drawn).to(states)


def scope_depth(
    model: HookedModel, confirm: Confirm, target: int, tokens: Tokens, layers: Sequence[int]
) -> DepthTrace:
    """The reported questions' states of every source layer, decoded at one target."""
    read_outs = [ScopeReadOut(Point(layer), target, tokens) for layer in layers]
    scores = score_read_outs(
        model, confirm.forget, confirm.prompt, read_outs, scoring=confirm.scoring
    )
    by_layer = dict(zip(layers, scores, strict=True))
    return DepthTrace(curves=(curve("patchscope", by_layer, nothing=guessed(confirm)),))


@dataclass(frozen=True, slots=True)
class ScopeSearch(Search[Scope]):
    """Sources and targets."""

    grid: Sequence[Scope]
    prompts: Sequence[Tokens]

    def variants(self) -> Generator[Sequence[Scope], Sequence[Scored], None]:
        """Every source layer at its own layer, at the middle and at the first one."""
        yield self.grid

    def read_out(self, variant: Scope, placebo: int | None = None) -> ScopeReadOut:
        """What a variant reads."""
        tokens = self.prompts[variant.prompt]
        return ScopeReadOut(Point(variant.source), variant.target, tokens, placebo)

    def change(self, variant: Scope) -> Change:
        """See ``Search``."""
        name = f"patchscope from {variant.source} to {variant.target}"
        return Change(name, read_out=self.read_out(variant))

    def sham(self, variant: Scope, seed: int) -> Change:
        """Random states of the same norms."""
        return Change("random states of equal size", read_out=self.read_out(variant, seed))

    def view(self, variant: Scope) -> View:
        """See ``scope_depth``."""
        layers = tuple(dict.fromkeys(scope.source for scope in self.grid))
        tokens = self.prompts[variant.prompt]
        return partial(scope_depth, target=variant.target, tokens=tokens, layers=layers)


class Patchscope(Attack[PatchscopeConfig, None, Scope]):
    """Patchscopes as a registered attack."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"unrelated questions", "retain facts"})
    variant = Scope
    presets: Mapping[str, PatchscopeConfig] = {
        "organism": PatchscopeConfig(prompts=2),
        "small": PatchscopeConfig(),
        "large": PatchscopeConfig(),
    }
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}
    limited: ClassVar[bool] = False

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: PatchscopeConfig
    ) -> ScopeSearch:
        """Target prompts from unrelated questions; without any, from retain questions."""
        texts = [e.prompt for e in seen.plain_examples] or [seen.text(q) for q in seen.retain]
        step = max(1, len(texts) // config.prompts)
        prompts = [tuple(encode(model.tokenizer, t)) for t in texts[::step][: config.prompts]]
        n = model.cfg.n_layers
        sources = _spaced(n, config.layers)
        grid = [
            Scope(source, target, prompt)
            for source in sources
            for target in dict.fromkeys((source, n // 2, 0))
            for prompt in range(len(prompts))
        ]
        return ScopeSearch(grid, prompts)

    def cost(self, config: PatchscopeConfig, job: Job) -> Cost:
        """One forward of the questions, and one of a target prompt for each state and variant."""
        scopes = config.prompts * (3 * len(_spaced(job.shape.layers, config.layers)) - 2)
        return Cost(variants=1.0 + scopes)


def _spaced(layers: int, most: int) -> list[int]:
    """Layers from the first to the last but one, evenly spaced."""
    inner = max(1, layers - 1)
    steps = max(1, min(most, inner) - 1)
    return sorted({round(i * (inner - 1) / steps) for i in range(steps + 1)})
