"""Where the difference of two models sits: put one model's activations into the other.

    share = (patched - receiver) / (donor - receiver)        of the right answer's lead

Reference: Vig et al. 2020, arXiv:2004.12265; Meng et al. 2022, arXiv:2202.05262.
Differs: between an original and an unlearned model rather than between two prompts.
Limits: a share near 1 says that a place suffices, not that the knowledge is stored there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.errors import unknown
from mechunlearn.explore.heat import heat, heat_figure, shown
from mechunlearn.explore.prompt import Prompt, last_logits, lead
from mechunlearn.hooks import Unit, run_blocks, streams, unit_name
from mechunlearn.types import HookedModel, Point, Stream

ROWS = 32
"""Patched texts that are computed together."""


@dataclass(frozen=True, slots=True, eq=False)
class Patching:
    """What each patch gives back of the lead that the receiver lacks."""

    shares: Float[np.ndarray, "layer place"]
    """0: nothing; 1: all; a mean over prompts."""
    places: tuple[str, ...]
    """Heads or tokens."""
    kind: str
    """``head``, or the stream that is patched token by token."""
    donor: float
    """The donor's lead in logits."""
    receiver: float
    n: int

    def figure(self) -> go.Figure:
        """A map of layers and places."""
        axes = ("layer", "head" if self.kind == "head" else "token")
        layers = [str(i) for i in range(len(self.shares))]
        panel = heat(
            self.shares, rows=layers, columns=self.places, axes=axes, what="share", signed=True
        )
        layer, place = np.unravel_index(self.shares.argmax(), self.shares.shape)
        best = self.shares[layer, place]
        where = f"{axes[1]} {self.places[place]!r} of layer {layer}"
        if axes[1] == "head":
            where = f"head {layer}.{place}"
        title = f"{where.capitalize()} alone gives back {best:.0%} of what was lost"
        caption = (
            f"{'Heads' if axes[1] == 'head' else self.kind} of the donor put into the receiver, "
            f"one at a time; mean of {self.n} question{'s' * (self.n > 1)}. Lead of the right "
            f"answer: donor {self.donor:+.2f}, receiver {self.receiver:+.2f} logits."
        )
        return heat_figure(panel, title, caption, axes)


def patch_heads(receiver: HookedModel, donor: HookedModel, prompts: Sequence[Prompt]) -> Patching:
    """Each head's output at every token, one head at a time.

    Raises:
        ValueError: If there is no prompt, the models differ in size, or know the answer equally.
    """
    names = [unit_name(i, "head") for i in range(receiver.cfg.n_layers)]
    heads = tuple(map(str, range(receiver.cfg.n_heads)))
    return _patched(receiver, donor, prompts, names, 1, heads, "head")


def patch_tokens(
    receiver: HookedModel, donor: HookedModel, prompt: Prompt, stream: Stream = "resid_post"
) -> Patching:
    """A stream of every layer at every token, one at a time.

    Raises:
        ValueError: As ``patch_heads``, or if the model has no such stream.
    """
    if stream not in (known := streams(receiver)):
        raise unknown("stream", stream, known)
    names = [Point(i, stream).name for i in range(receiver.cfg.n_layers)]
    words = tuple(shown(prompt.words(receiver)))
    return _patched(receiver, donor, [prompt], names, 0, words, stream)


def patch_units(
    receiver: HookedModel,
    donor: HookedModel,
    prompts: Sequence[Prompt],
    units: Sequence[tuple[int, int]],
    unit: Unit = "neuron",
) -> float:
    """The share that some neurons or heads give back together, as ``(layer, number)`` each.

    Raises:
        ValueError: As ``patch_heads``.
    """
    by_name: dict[str, list[int]] = {}
    for layer, number in units:
        by_name.setdefault(unit_name(layer, unit), []).append(number)

    def put(own: Tensor, chosen: list[int]) -> Callable[..., Tensor]:
        def patch(activation: Tensor, hook: object) -> Tensor:
            patched = activation.clone()
            patched[:, :, chosen] = own[:, :, chosen]
            return patched

        return patch

    shares = []
    for prompt in _checked(receiver, donor, prompts):
        values = _values(donor, prompt, list(by_name))
        low, high = _leads(receiver, donor, prompt)
        hooks = [(name, put(values[name], chosen)) for name, chosen in by_name.items()]
        with receiver.hooks(fwd_hooks=hooks):
            shares.append((float(lead(prompt.logits(receiver))) - low) / (high - low))
    return float(np.mean(shares))


def _patched(
    receiver: HookedModel,
    donor: HookedModel,
    prompts: Sequence[Prompt],
    names: Sequence[str],
    axis: int,
    places: tuple[str, ...],
    kind: str,
) -> Patching:
    """Every place of every hook point by itself.

    Args:
        axis: Of a row's activation, that the places are along.
    """

    def put(own: Tensor, chosen: Sequence[int]) -> Callable[..., Tensor]:
        def patch(activation: Tensor, hook: object) -> Tensor:
            patched = activation.clone()
            for row, place in enumerate(chosen):
                patched[row].select(axis, place).copy_(own[0].select(axis, place))
            return patched

        return patch

    shares, leads = [], []
    for prompt in _checked(receiver, donor, prompts):
        low, high = _leads(receiver, donor, prompt)
        values, tokens = _values(donor, prompt, names), prompt.tokens(receiver)
        ids, found = prompt.answers(receiver), []
        for name in names:
            for start in range(0, len(places), ROWS):
                chosen = range(start, min(start + ROWS, len(places)))
                with receiver.hooks(fwd_hooks=[(name, put(values[name], chosen))]):
                    rows = last_logits(receiver, tokens.expand(len(chosen), -1), ids)
                found += lead(rows).tolist()
        shares.append((np.array(found).reshape(len(names), -1) - low) / (high - low))
        leads.append((low, high))
    low, high = np.mean(leads, axis=0)
    return Patching(np.mean(shares, axis=0), places, kind, float(high), float(low), len(shares))


def _checked(
    receiver: HookedModel, donor: HookedModel, prompts: Sequence[Prompt]
) -> Sequence[Prompt]:
    if not prompts:
        raise ValueError("patching needs at least one prompt")
    a, b = receiver.cfg, donor.cfg
    if (a.n_layers, a.n_heads, a.d_model, a.d_vocab) != (
        b.n_layers,
        b.n_heads,
        b.d_model,
        b.d_vocab,
    ):
        raise ValueError("patching needs two models of one shape: one made from the other")
    return prompts


def _leads(receiver: HookedModel, donor: HookedModel, prompt: Prompt) -> tuple[float, float]:
    low, high = (float(lead(prompt.logits(model))) for model in (receiver, donor))
    if abs(high - low) < 0.05:
        raise ValueError(
            f"both models answer {prompt.text[-60:]!r} alike (lead {low:+.2f} and {high:+.2f} "
            "logits), so no patch can give anything back; take a question that was lost"
        )
    return low, high


@torch.no_grad()
def _values(model: HookedModel, prompt: Prompt, names: Sequence[str]) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: object, name: str) -> None:
        kept[name] = activation.detach()

    hooks = [(n, lambda a, hook, n=n: keep(a, hook, n)) for n in dict.fromkeys(names)]
    with model.hooks(fwd_hooks=hooks):
        run_blocks(model, prompt.tokens(model))
    return kept
