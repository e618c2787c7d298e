"""Let the model itself say what an inner state holds, where nothing reminds it of the question.

    h_l*(target prompt, last token) <- h_l(question, last token),   then the answer as always

A lens reads a state with the final norm and the unembedding alone. Here the model's own blocks
after ``l*`` go on computing with it and put the answer into words, but what they can look back at
is another prompt: whatever holds the model back in sight of the forgotten names is not there, and
neither are the names. The target prompts are the identity prompt, which repeats what it is shown,
and a prompt of the task's own form that asks nothing.

Reference:
    Ghandeharioun et al. 2024, arXiv:2401.06102 (Patchscopes): the same model is source and target,
    as in their next-token and token-identity settings.
    Differs: a prompt in the task's form is a target too, since small models cannot follow the
    identity prompt; layers and prompt are chosen on the select fold; the sham is the state of
    another question.
    Limits: only the answer's first token is decoded from the state, the others follow from what was
    said, so that answers that begin by repeating the question are not read; nor are letters, where
    the blocks after ``l*`` look them up among the choices. Another model's upper part would hand
    its own knowledge over, as ``patching`` does, and is not tried.
"""

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

import torch
from torch import Tensor

from mechunlearn.attacks.depth import DepthTrace, curve, guessed
from mechunlearn.attacks.protocol import Attack, Confirm, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench import score
from mechunlearn.bench.rows import encode
from mechunlearn.bench.states import states_at
from mechunlearn.cost.job import Cost, Job
from mechunlearn.presets import Size
from mechunlearn.registry import find
from mechunlearn.types import Change, Hook, HookedModel, Point, Question, Rewrite, Rows, Task, Turn

IDENTITY = "cat -> cat\n1135 -> 1135\nhello -> hello\n?"
"""The token-identity prompt of the paper."""
NOTHING = Question("the", ("the", "the"), 0)
"""Asks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchscopeConfig:
    """Settings.

    Raises:
        ValueError: If there are fewer than two layers.
    """

    layers: int = 8
    """Source layers that are tried at most, evenly spaced."""

    def __post_init__(self) -> None:
        if self.layers < 2:
            raise ValueError(f"a patchscope needs layers >= 2, not {self.layers}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a state is taken from and where it is put."""

    source: int
    """Layer of the question."""
    target: int
    """Layer of the target prompt."""
    prompt: str
    """What the target prompt is: ``identity`` or ``nothing``."""


@dataclass(slots=True)
class Transplant(Rewrite):
    """Asks a target prompt in the place of every question, whose states it keeps for a hook."""

    change: Callable[[str, random.Random], str] = field(default=lambda text, rng: text, repr=False)
    source: Point = field(default=Point(0), kw_only=True)
    target: str = field(kw_only=True)
    placebo: int | None = field(default=None, kw_only=True)
    """Seed; every question gets another one's state."""
    states: Tensor = field(default_factory=lambda: torch.zeros(0, 0), init=False)
    place: int = field(default=0, init=False)
    """Of the target prompt's last token."""

    def prepare(self, model: HookedModel, texts: Sequence[str], turn: Turn) -> None:
        """See ``Rewrite``: the states of the questions as they are asked."""
        rows = [encode(model.tokenizer, turn.around(text)) for text in texts]
        last = [[len(row) - 1] for row in rows]
        self.states = states_at(model, rows, last, [self.source])[self.source]
        if self.placebo is not None:
            self.states = self.states[_elsewhere(len(rows), self.placebo)]
        self.place = len(encode(model.tokenizer, turn.around(self.target))) - 1

    def __call__(self, text: str) -> str:
        """See ``Rewrite``."""
        return self.target

    def put(self, activation: Tensor, hook: object, rows: Rows) -> Tensor:
        """The state of every row's question at the last token of the target prompt."""
        states = self.states[rows.items.to(self.states.device)].to(activation)
        here = (rows.positions == self.place)[..., None].to(activation.device)
        return torch.where(here, states[:, None], activation)


def _elsewhere(n: int, seed: int) -> list[int]:
    """For each of some questions another one, in a circle of random order."""
    order = random.Random(f"scope-{seed}").sample(range(n), n)
    return [j for _, j in sorted(zip(order, [*order[1:], *order[:1]], strict=True))]


def patchscope(source: int, target: int, prompt: str, placebo: int | None = None) -> Change:
    """Answer a prompt that holds a question's state instead of the question.

    Args:
        source: Layer after which the state is taken, at the question's last token.
        target: Layer after which it is put, at the last token of the prompt.
        prompt: Text that stands inside the user's turn.
        placebo: Seed; take the state of another question (sham).
    """
    transplant = Transplant(source=Point(source), target=prompt, placebo=placebo)
    hook = Hook(Point(target).name, transplant.put, scope="sequence")
    name = f"state of {source} at {target}"
    name = name if placebo is None else f"another question's {name}"
    return Change(name, hooks=(hook,), rewrite=transplant)


def scope_depth(
    model: HookedModel, confirm: Confirm, target: int, prompt: str, layers: Sequence[int]
) -> DepthTrace:
    """The reported questions' states of every source layer, decoded at one target."""
    by_layer = {
        layer: score(
            model,
            confirm.forget,
            confirm.prompt,
            scoring=confirm.scoring,
            change=patchscope(layer, target, prompt),
        )
        for layer in layers
    }
    return DepthTrace(curves=(curve("patchscope", by_layer, nothing=guessed(confirm)),))


@dataclass(frozen=True, slots=True)
class ScopeSearch(Search[Scope]):
    """Sources and targets."""

    grid: Sequence[Scope]
    prompts: Mapping[str, str]

    def variants(self) -> Generator[Sequence[Scope], Sequence[Scored], None]:
        """Every source layer at its own layer, at the middle and at the first one."""
        yield self.grid

    def change(self, variant: Scope) -> Change:
        """See ``patchscope``."""
        return patchscope(variant.source, variant.target, self.prompts[variant.prompt])

    def sham(self, variant: Scope, seed: int) -> Change:
        """The state of another question."""
        return patchscope(variant.source, variant.target, self.prompts[variant.prompt], seed)

    def view(self, variant: Scope) -> View:
        """See ``scope_depth``."""
        layers = tuple(dict.fromkeys(scope.source for scope in self.grid))
        prompt = self.prompts[variant.prompt]
        return partial(scope_depth, target=variant.target, prompt=prompt, layers=layers)


class Patchscope(Attack[PatchscopeConfig, None, Scope]):
    """Patchscopes as a registered attack."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset()
    variant = Scope
    presets: Mapping[str, PatchscopeConfig] = {size: PatchscopeConfig() for size in get_args(Size)}
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}
    limited: ClassVar[bool] = False
    speaks: ClassVar[bool] = True

    def suits(self, task: Task) -> bool:
        """See ``Attack``: letters stand for nothing where there are no choices."""
        return not find("measure", task.scoring).one_token

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: PatchscopeConfig
    ) -> ScopeSearch:
        """There is nothing to look for; the variants are pairs of layers, and the prompts."""
        nothing = seen.prompt.turn.inside(seen.text(NOTHING))
        prompts = {"nothing": nothing, "identity": IDENTITY}
        n = model.cfg.n_layers
        grid = [
            Scope(source, target, prompt)
            for source in _spaced(n, config.layers)
            for target in dict.fromkeys((source, n // 2, 0))
            for prompt in prompts
        ]
        return ScopeSearch(grid, prompts)

    def cost(self, config: PatchscopeConfig, job: Job) -> Cost:
        """One forward of the questions, and one of a target prompt, for each pair of layers."""
        layers = _spaced(job.shape.layers, config.layers)
        pairs = sum(len({layer, job.shape.layers // 2, 0}) for layer in layers)
        return Cost(variants=2.0 * 2 * pairs)


def _spaced(layers: int, most: int) -> list[int]:
    """Layers from the first to the last but one, evenly spaced."""
    inner = max(1, layers - 1)
    steps = max(1, min(most, inner) - 1)
    return sorted({round(i * (inner - 1) / steps) for i in range(steps + 1)})
