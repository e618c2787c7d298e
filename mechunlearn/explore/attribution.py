"""Which heads, layers and neurons write the answer: direct logit attribution.

    part's share of the lead = norm(part) . (W_U[right] - mean of W_U[wrong])

with the final norm's scale held at what it is for the whole stream, so that the parts add up.

Reference: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
Limits: only what a part writes to the stream itself; what later parts make of it is not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from mechunlearn.explore.heat import heat, heat_figure
from mechunlearn.explore.prompt import Prompt
from mechunlearn.hooks import capture, frozen_norm, linear_maps, run_blocks, unit_name
from mechunlearn.types import HookedModel, Point

TOP = 12
"""Neurons drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each part adds to the right answer's lead, as a mean over prompts; in logits."""

    heads: Float[np.ndarray, "layer head"]
    mlps: Float[np.ndarray, " layer"]
    neurons: Float[np.ndarray, "layer neuron"]
    """Their parts of ``mlps``; the output's bias is none of theirs."""
    rest: float
    """Embeddings and biases."""
    n: int
    """Prompts."""

    @property
    def lead(self) -> float:
        """All parts together: the lead before any cap or scale of the logits."""
        return float(self.heads.sum() + self.mlps.sum() + self.rest)

    def __sub__(self, other: "Attribution") -> "Attribution":
        """What one model has more than another, part by part."""
        return Attribution(
            self.heads - other.heads,
            self.mlps - other.mlps,
            self.neurons - other.neurons,
            self.rest - other.rest,
            self.n,
        )

    def figure(self, what: str = "adds to the lead") -> go.Figure:
        """Heads of every layer, and its MLP as the last column."""
        values = np.concatenate([self.heads, self.mlps[:, None]], axis=1)
        names = [*map(str, range(self.heads.shape[1])), "MLP"]
        layers, axes = [str(i) for i in range(len(values))], ("layer", "head")
        panel = heat(
            values, rows=layers, columns=names, axes=axes, what=f"{what} (logits)", signed=True
        )
        layer, part = np.unravel_index(np.abs(values).argmax(), values.shape)
        called = f"the MLP of layer {layer}" if part == len(names) - 1 else f"head {layer}.{part}"
        title = f"{called[0].upper()}{called[1:]} {what} most: {values[layer, part]:+.2f} logits"
        caption = (
            f"Direct logit attribution, mean of {self.n} question{'s' * (self.n > 1)}; all parts: "
            f"{self.lead:+.2f}, of which embeddings and biases {self.rest:+.2f}."
        )
        return heat_figure(panel, title, caption, axes)

    def top(self, k: int = TOP) -> list[tuple[int, int]]:
        """The neurons that add or take most, as ``(layer, neuron)``."""
        order = np.abs(self.neurons).ravel().argsort()[::-1][:k]
        layers, neurons = np.unravel_index(order, self.neurons.shape)
        return list(zip(layers.tolist(), neurons.tolist(), strict=True))


def attribution(model: HookedModel, prompts: Sequence[Prompt]) -> Attribution:
    """Of every head, MLP and neuron, at the last token.

    Raises:
        ValueError: If there is no prompt, or a block has weights that are no single matrix.
    """
    if not prompts:
        raise ValueError("attribution needs at least one prompt")
    found = [_one(model, prompt) for prompt in prompts]

    def mean(name: str) -> np.ndarray:
        return np.mean([getattr(one, name) for one in found], axis=0)

    parts = (mean("heads"), mean("mlps"), mean("neurons"))
    return Attribution(*parts, float(np.mean([one.rest for one in found])), len(found))


@torch.no_grad()
def _one(model: HookedModel, prompt: Prompt) -> Attribution:
    ids = prompt.answers(model)
    table = model.unembed.original_component.weight[ids].float()
    direction = (table[0] - table[1:].mean(0)) * model.logit_scale
    layers = range(model.cfg.n_layers)
    streams = [Point(i, s) for i in layers for s in ("attn_out", "mlp_out")]  # type: ignore[arg-type]
    last = Point(model.cfg.n_layers - 1)
    units: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: object, name: str) -> None:
        units[name] = activation[:1, -1].detach()

    names = [unit_name(i, unit) for i in layers for unit in ("head", "neuron")]  # type: ignore[arg-type]
    hooks = [(n, lambda a, hook, n=n: keep(a, hook, n)) for n in names]
    with model.hooks(fwd_hooks=hooks), capture(model, [*streams, last]) as kept:
        run_blocks(model, prompt.tokens(model))
    stream = kept[last][:1, -1]
    norm = frozen_norm(model, stream)

    def share(part: Float[Tensor, "*part d_model"]) -> np.ndarray:
        return (norm(part[..., None, :])[..., 0, :] @ direction).cpu().numpy()

    heads, neurons, mlps = [], [], []
    for i in layers:
        maps = linear_maps(model, i, ("o", "out"))
        attn, mlp = (kept[Point(i, s)][:1, -1] for s in ("attn_out", "mlp_out"))  # type: ignore[arg-type]
        heads.append(share(_head_parts(maps["o"], units[unit_name(i, "head")], attn)))
        neurons.append(_neuron_shares(maps["out"], units[unit_name(i, "neuron")], mlp, share))
        mlps.append(share(mlp[0]))
    whole = float(share(stream[0]))
    rest = whole - float(np.sum(heads)) - float(np.sum(mlps))
    return Attribution(np.stack(heads), np.array(mlps), np.stack(neurons), rest, 1)


def _gain(raw: Tensor, written: Tensor) -> Tensor:
    """What a norm behind a map multiplies its output by; 1 where there is none."""
    if torch.allclose(raw.float(), written.float(), rtol=1e-2, atol=1e-4):
        return torch.ones_like(written)
    return torch.where(raw == 0, torch.ones_like(raw), written / raw)


def _head_parts(
    bridge: torch.nn.Module, z: Float[Tensor, "1 head d_head"], written: Float[Tensor, "1 d_model"]
) -> Float[Tensor, "head d_model"]:
    """What each head writes, without the output's bias."""
    output: Any = bridge.original_component
    each = one_hot(torch.arange(z.shape[1], device=z.device)).to(z)[:, :, None] * z
    bias = output(torch.zeros_like(z).flatten(1))
    return (output(each.flatten(1)) - bias) * _gain(output(z.flatten(1)), written)


def _neuron_shares(
    bridge: torch.nn.Module,
    act: Float[Tensor, "1 neuron"],
    written: Float[Tensor, "1 d_model"],
    share: Callable[[Tensor], np.ndarray],
) -> Float[np.ndarray, " neuron"]:
    """What each neuron's column adds."""
    output: Any = bridge.original_component
    bias = output(torch.zeros_like(act))
    columns = output(torch.eye(act.shape[1]).to(act)) - bias
    parts = columns * act[0][:, None] * _gain(output(act), written)
    return share(parts)
