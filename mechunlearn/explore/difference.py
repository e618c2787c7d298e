"""How two models differ on one text: activations by layer and token, and what they expect next."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.logit_lens import token_lens
from mechunlearn.explore.heat import heat, heat_figure, shown, without_legend
from mechunlearn.explore.prompt import Prompt
from mechunlearn.hooks import capture, run_blocks, unembed
from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.plots.tokens import tokens
from mechunlearn.types import Example, HookedModel, Point

EXPECTED = 3
"""Tokens that the hover text names of each model."""


def difference(original: HookedModel, unlearned: HookedModel, prompt: Prompt) -> go.Figure:
    """``|unlearned - original| / |original|`` of every block's output, by layer and token.

    Raises:
        ValueError: If the models differ in shape.
    """
    values = activation_difference(original, unlearned, prompt)
    layers, axes = [str(i) for i in range(len(values))], ("layer", "token")
    words = shown(prompt.words(original))
    panel = heat(values, rows=layers, columns=words, axes=axes, what="relative difference")
    far = np.flatnonzero(values.max(axis=1) > 0.1)
    title = (
        f"The two models part at layer {far[0]}"
        if len(far)
        else "No block's output differs by more than a tenth"
    )
    caption = f"Block outputs of one text of {len(words)} tokens: |difference| / |original|."
    return heat_figure(panel, title, caption, axes)


@torch.no_grad()
def activation_difference(
    original: HookedModel, unlearned: HookedModel, prompt: Prompt
) -> Float[np.ndarray, "layer pos"]:
    """Relative distance of the streams after every block.

    Raises:
        ValueError: If the models differ in shape.
    """
    first, second = (_streams(model, prompt) for model in (original, unlearned))
    if first.shape != second.shape:
        raise ValueError(
            f"the models differ in shape ({list(first.shape)} and {list(second.shape)}); give an "
            "original and what was made from it"
        )
    return ((second - first).norm(dim=-1) / first.norm(dim=-1)).cpu().numpy()


def divergence(original: HookedModel, unlearned: HookedModel, prompt: Prompt) -> go.Figure:
    """What the two expect after every token: ``KL(original || unlearned)`` in nats.

    The hover text names the likeliest tokens of both.
    """
    p, q = (_expectations(model, prompt) for model in (original, unlearned))
    kl = token_divergence(p, q)
    words = shown(prompt.words(original))
    tops = [[_top(original, row) for row in each] for each in (p, q)]
    bars = go.Bar(
        x=words,
        y=np.round(kl, 4).tolist(),
        marker={"color": LOOKS["unlearned"].colour},
        customdata=list(zip(*tops, strict=True)),
        hovertemplate="after %{x}: %{y} nats<br>original: %{customdata[0]}<br>"
        "unlearned: %{customdata[1]}<extra></extra>",
    )
    fig = go.Figure(bars)
    at = int(kl.argmax())
    title = f"They disagree most after {words[at].partition(' ')[2]!r}: {kl[at]:.2f} nats"
    caption = (
        f"KL divergence of the unlearned model's next token from the original's, one text of "
        f"{len(words)} tokens; mean {kl.mean():.2f} nats."
    )
    without_legend(lay_out(fig, title, caption, height=260))
    fig.update_xaxes(title="token", type="category", tickangle=-60, tickfont={"size": 10})
    return fig.update_yaxes(title="KL (nats)", rangemode="tozero")


def token_divergence(
    p: Float[Tensor, "pos vocab"], q: Float[Tensor, "pos vocab"]
) -> Float[np.ndarray, " pos"]:
    """``KL(p || q)`` in nats of rows of log-probabilities."""
    return (p.exp() * (p - q)).sum(-1).clamp(min=0).cpu().numpy()


def lens(models: Mapping[str, HookedModel], prompt: Prompt) -> go.Figure:
    """How high the right answer stands after every token and layer, model beside model."""
    example = Example(prompt.text, prompt.right)
    return tokens({name: token_lens(model, example) for name, model in models.items()})


@torch.no_grad()
def _streams(model: HookedModel, prompt: Prompt) -> Float[Tensor, "layer pos d_model"]:
    points = [Point(i) for i in range(model.cfg.n_layers)]
    with capture(model, points) as kept:
        run_blocks(model, prompt.tokens(model))
    return torch.stack([kept[p][0].float() for p in points])


@torch.no_grad()
def _expectations(model: HookedModel, prompt: Prompt) -> Float[Tensor, "pos vocab"]:
    """Log-probabilities of the next token, after every token."""
    last = Point(model.cfg.n_layers - 1)
    with capture(model, [last]) as kept:
        run_blocks(model, prompt.tokens(model))
    return unembed(model, kept[last][0]).log_softmax(-1)


def _top(model: HookedModel, row: Tensor) -> str:
    found = row.exp().topk(EXPECTED)
    pairs = zip(found.values.tolist(), found.indices.tolist(), strict=True)
    return ", ".join(f"{model.tokenizer.decode([token])!r} {p:.0%}" for p, token in pairs)
