"""In which layers is the answer gone? Read and run a model's states with the other's upper part.

    lens       logits = W_U ln_final(h_l)    state of the unlearned model, norm and head of the
                                             original
    erased_l   = sum_i D_i / sum_i S_i
                 D_i  log p(answer) that the original loses with the unlearned model's states put in
                 S_i  the same with the original's own states after another question's stem
    restored_l = sum_i [log p_u(answer | original's h_l) - log p_u] / sum_i [log p_o - log p_u]

States are exchanged after one block at a time, where the answer's tokens are predicted. The
*attack* is the lens: it needs no exchange, changes nothing, and finds what was hidden in the
unlearned model's own norm and head. The exchanges are no attack, since they hand answers over; they
are what the figure shows: down to which depth the unlearned model is still the original. Without a
never-knew model ``S`` is what counts as wholly erased; where there is one, ``restored`` and the
lens are measured on it too.

Reference:
    Lee et al. 2026, arXiv:2605.24614 (unlearning depth score, and its logit-lens variant).
    Differs: what counts as wholly erased are states after another question's stem, so that no
    retrained model is needed; losses are summed before they are compared instead of clipped one by
    one, by which a model that guesses would keep a share for its luck; the other direction is
    measured too; every layer is shown, not only their weighted mean. ``gradient`` takes D and S
    from the original's gradient, as attribution patching does (Syed et al. 2023, arXiv:2310.10348),
    one backward pass in place of two forwards a layer.
    Limits: the gradient holds for small moves only. On an organism it is right of NPO (2.9 for 3.1
    after the last block) and has the wrong sign of RMU, whose states lie far off. All is of the
    select fold's lost questions, at the answer's own places: what stands at other tokens is not
    exchanged. Nothing but the original's own loss says how much a state matters.
"""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args
from weakref import ref

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.borrowed_head import Head, HeadReadOut
from mechunlearn.attacks.depth import CurveKind, DepthCurve, DepthTrace
from mechunlearn.attacks.protocol import Attack, Confirm, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.bench.rows import Row
from mechunlearn.bench.states import answer_gradients, answer_log_probabilities, states_at
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.hooks import frozen_head
from mechunlearn.presets import Size
from mechunlearn.stats import Values, ratio_of_sums
from mechunlearn.types import Change, HookedModel, Point

CONTEXT = 4096
"""Tokens of a prompt with its answer, at most."""
CARRIES = 0.05
"""Share of what the layer that carries most carries of the answers, below which one is left out."""
LOST = 0.05
"""Nats of an answer that have to be lost on average before they can be restored."""
INTO = "patched into the original"
BY_GRADIENT = "patched into the original, by gradient"
States = Mapping[Point, Float[Tensor, "read d_model"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchingConfig:
    """Settings."""

    exact: bool = True
    """Whether states are exchanged, a forward for each layer; otherwise the original's gradient
    says what that would do."""


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """What has to be known of the original model; none of it holds the model."""

    head: Head
    rows: Sequence[Row]
    """Lost questions of the select fold with their answers."""
    other_rows: Sequence[Row]
    """The same answers behind other questions' stems."""
    states: States
    gradients: States
    values: Values
    """Log-probability of each answer."""
    swapped: States
    """Its states at ``other_rows``."""
    swapped_loss: Mapping[int, Values]
    """By layer, what those cost where they are put in; by the gradient where it is not exact."""

    def loss(self, layer: int, states: Float[Tensor, "read d_model"]) -> Values:
        """What other states would cost the answers' log-odds, by the gradient."""
        point = Point(layer)
        moved = (self.states[point].float() - states.float()) * self.gradients[point]
        parts = moved.sum(dim=1).double().split([len(row.reads) for row in self.rows])
        return torch.stack([part.sum() for part in parts]).numpy()


def places(rows: Sequence[Row]) -> list[list[int]]:
    """Where each row is read."""
    return [[at for at, _, _ in row.reads] for row in rows]


def known_of(original: HookedModel, seen: Seen, config: PatchingConfig) -> Original:
    """States, gradients and answers of the original, and its states behind other stems."""
    limit = original.cfg.n_ctx or CONTEXT
    points = [Point(layer) for layer in range(original.cfg.n_layers)]
    examples = [seen.example(q) for q in seen.asked]
    rows = example_rows(original, examples, "answer", limit)
    others = [seen.example(q) for q in with_other_stems(seen.asked)]
    other_rows = example_rows(original, others, "answer", limit)
    states = states_at(original, [r.tokens for r in rows], places(rows), points)
    swapped = states_at(original, [r.tokens for r in other_rows], places(other_rows), points)
    values = answer_log_probabilities(original, rows).numpy()
    gradients = answer_gradients(original, rows, points)
    known = Original(
        frozen_head(original), rows, other_rows, states, gradients, values, swapped, {}
    )
    loss = _exact(original, known) if config.exact else known.loss
    lost = {point.layer: loss(point.layer, swapped[point]) for point in points}
    return dataclasses.replace(known, swapped_loss=lost)


def _exact(original: HookedModel, known: Original) -> Callable[[int, Tensor], Values]:
    """What states cost the original's answers when they are put in."""

    def loss(layer: int, states: Float[Tensor, "read d_model"]) -> Values:
        put = Point(layer), states
        return known.values - answer_log_probabilities(original, known.rows, put).numpy()

    return loss


def erased(
    states: States,
    loss: Callable[[int, Tensor], Values],
    carried: Mapping[int, Values],
    name: str,
    kind: CurveKind = "exchange",
) -> DepthCurve:
    """Share, layer by layer, of what the original's states carry that other states lack.

    Args:
        carried: What another question's states cost, in the unit of ``loss``.
    """
    found = {
        layer: ratio_of_sums(loss(layer, states[Point(layer)]), carried[layer])
        for layer in _carrying(carried)
    }
    return _curve(name, found, nothing=1.0, everything=0.0, kind=kind)


def _carrying(carried: Mapping[int, Values]) -> list[int]:
    """Layers that carry enough of the answers for a share of it to mean something."""
    least = CARRIES * max(values.mean() for values in carried.values())
    return [layer for layer, values in carried.items() if values.mean() > max(least, 0.0)]


def restored(model: HookedModel, known: Original) -> DepthCurve:
    """Share of the loss that comes back with the original's states; none where little was lost."""
    before = answer_log_probabilities(model, known.rows).numpy()
    gap = known.values - before
    found = {}
    for point, states in known.states.items() if gap.mean() > LOST else ():
        after = answer_log_probabilities(model, known.rows, (point, states)).numpy()
        found[point.layer] = ratio_of_sums(after - before, gap)
    return _curve("original patched in", found, nothing=0.0, everything=1.0)


def lens_kept(known: Original, states: States, swapped: States) -> DepthCurve:
    """The lens variant: what the original's head reads in other states, as a share of its own.

    Of either model's states counts what they say of the question: beyond what the same model's say
    of that answer behind another question's stem. Else a model whose states say less of anything
    would seem to keep the more.

    Args:
        states: At ``known.rows``.
        swapped: At ``known.other_rows``.
    """

    def told(own: States, behind_others: States) -> dict[int, Values]:
        return {p.layer: _read(known, own[p]) - _read(known, behind_others[p]) for p in own}

    carried, kept = told(known.states, known.swapped), told(states, swapped)
    found = {layer: ratio_of_sums(kept[layer], carried[layer]) for layer in _carrying(carried)}
    return _curve("original's lens", found, nothing=0.0, everything=1.0, kind="read")


def _read(known: Original, states: Float[Tensor, "read d_model"]) -> Values:
    """Mean log-probability of each answer, by the original's head."""
    tokens = torch.tensor([token for row in known.rows for _, token, _ in row.reads])
    logits = known.head(states).log_softmax(-1)
    values = logits.gather(1, tokens[:, None].to(logits.device))[:, 0].double().cpu()
    parts = values.split([len(row.reads) for row in known.rows])
    return torch.stack([part.mean() for part in parts]).numpy()


def _curve(
    name: str,
    found: Mapping[int, tuple[float, tuple[float, float]]],
    nothing: float,
    everything: float,
    kind: CurveKind = "exchange",
) -> DepthCurve:
    return DepthCurve(
        name=name,
        layers=tuple(found),
        values=tuple(round(value, 4) for value, _ in found.values()),
        value_cis=tuple((round(ci[0], 4), round(ci[1], 4)) for _, ci in found.values()),
        nothing=nothing,
        everything=everything,
        kind=kind,
        of_unlearned=name == INTO,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """The states of two models, and what is exchanged where."""

    known: Original
    states: States
    swapped: States
    """The same behind other questions' stems."""
    own: "ref[HookedModel]"
    """The model whose states these are."""
    exact: bool

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def depth(self, model: HookedModel, confirm: Confirm) -> DepthTrace:
        """In its own model, the original's states; in the original, those of its own model."""
        known, states = self.known, self.states
        if model is not self.own():
            loss = _exact(model, known) if self.exact else known.loss
            return DepthTrace(curves=(erased(states, loss, known.swapped_loss, INTO),))
        carried = {p.layer: known.loss(p.layer, other) for p, other in known.swapped.items()}
        kind: CurveKind = "detail" if self.exact else "exchange"
        gradient = erased(states, known.loss, carried, BY_GRADIENT, kind)
        more = (restored(model, known),) if self.exact else ()
        lens = lens_kept(known, states, self.swapped)
        return DepthTrace(curves=(lens, gradient, *more))


@dataclass(frozen=True, slots=True)
class PatchingSearch(Search[Point]):
    """The places where a model is read by the original's head."""

    points: Sequence[Point]
    exchange: Exchange

    def variants(self) -> Generator[Sequence[Point], Sequence[Scored], None]:
        """Every block's output."""
        yield self.points

    def change(self, variant: Point) -> Change:
        """See ``Search``."""
        read_out = HeadReadOut(variant, self.exchange.known.head)
        return Change(f"the original's lens at {variant.name}", read_out=read_out)

    def sham(self, variant: Point, seed: int) -> Change:
        """The model's own lens, plus as much as the two differ by, at other tokens."""
        read_out = HeadReadOut(variant, self.exchange.known.head, seed)
        return Change("as far from its own lens", read_out=read_out)

    def view(self, variant: Point) -> View:
        """See ``Exchange``."""
        return self.exchange.depth


class Patching(Attack[PatchingConfig, Original, Point]):
    """The original's lens as a registered attack, with the exchange of states as its figure."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"original model", "forget questions"})
    variant = Point
    presets: Mapping[str, PatchingConfig] = {
        "organism": PatchingConfig(),
        "small": PatchingConfig(),
        "large": PatchingConfig(),
        "gradient": PatchingConfig(exact=False),
    }
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}
    limited: ClassVar[bool] = False

    def learn(self, original: HookedModel, seen: Seen, config: PatchingConfig) -> Original:
        """See ``known_of``."""
        return known_of(original, seen, config)

    def search(
        self, model: HookedModel, seen: Seen, reference: Original, config: PatchingConfig
    ) -> PatchingSearch:
        """One forward keeps the states that are exchanged and read."""
        points = list(reference.states)
        states, swapped = (
            states_at(model, [row.tokens for row in rows], places(rows), points)
            for rows in (reference.rows, reference.other_rows)
        )
        exchange = Exchange(reference, states, swapped, ref(model), config.exact)
        return PatchingSearch(points, exchange)

    def cost(self, config: PatchingConfig, job: Job) -> Cost:
        """The original: states twice, answers, a gradient, every layer; then states of the other.

        The figure takes a forward a layer more, in this and in the original.
        """
        layers = job.shape.layers
        passes = 5 + BACKWARD + (2 * layers + 1 if config.exact else 0)
        kept = 6.0 * 4 * job.forget_select * layers * job.shape.d_model
        head = 4.0 * job.shape.vocabulary * job.shape.d_model
        memory = {"head": head} | ({"states": kept} if job.sizes.kind == "cpu" else {})
        return Cost(search=passes * job.forget_select, variants=1.0, memory=memory)
