"""Where each head looks: attention patterns of one text."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from mechunlearn.explore.heat import heat, heat_figure, shown, without_legend
from mechunlearn.explore.prompt import Prompt
from mechunlearn.hooks import check_layers, pattern_name, run_blocks
from mechunlearn.plots.template import lay_out, small_headings
from mechunlearn.types import HookedModel

ACROSS = 4
"""Heads in a row."""


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Attention of every head from every token to those before it."""

    words: list[str]
    patterns: Float[np.ndarray, "layer head to from"]
    """How much of each token's mixture comes from each earlier one; rows sum to 1."""

    def figure(self, layer: int) -> go.Figure:
        """A panel for each head of a layer.

        Raises:
            ValueError: If there is no such layer.
        """
        if not 0 <= layer < len(self.patterns):
            raise ValueError(
                f"there is no layer {layer}: the model has 0..{len(self.patterns) - 1}"
            )
        heads, labels = self.patterns[layer], shown(self.words)
        across = min(ACROSS, len(heads))
        down = -(-len(heads) // across)
        fig = make_subplots(
            rows=down,
            cols=across,
            subplot_titles=[f"head {layer}.{h}" for h in range(len(heads))],
            horizontal_spacing=0.03,
            vertical_spacing=0.12 / down,
            shared_xaxes=True,
            shared_yaxes=True,
        )
        for head, pattern in enumerate(heads):
            panel = heat(
                pattern, rows=labels, columns=labels, axes=("at", "looks at"), what="attention"
            )
            panel.update(showscale=False, texttemplate=None, zmax=1.0)
            fig.add_trace(panel, row=head // across + 1, col=head % across + 1)
        last = heads[:, -1]
        head, at = np.unravel_index(last.argmax(), last.shape)
        title = (
            f"At the last token head {layer}.{head} puts {last[head, at]:.0%} of its attention on "
            f"{self.words[at].strip()!r}"
        )
        caption = f"One text of {len(labels)} tokens. Rows: where a head is; columns: what it sees."
        without_legend(lay_out(fig, title, caption, height=40 + 210 * down))
        fig.update_xaxes(showticklabels=False, showgrid=False)
        fig.update_yaxes(showticklabels=False, showgrid=False, autorange="reversed")
        return small_headings(fig)

    def heads(self) -> go.Figure:
        """What every head sees from the last token, where the answer is read."""
        n_layers, n_heads = self.patterns.shape[:2]
        last = self.patterns[:, :, -1].reshape(n_layers * n_heads, -1)
        names = [f"{layer}.{head}" for layer in range(n_layers) for head in range(n_heads)]
        axes = ("head", "token")
        panel = heat(last, rows=names, columns=shown(self.words), axes=axes, what="attention")
        panel.update(zmax=1.0)
        head, at = np.unravel_index(last.argmax(), last.shape)
        title = f"The sharpest head at the last token: {names[head]}, on {self.words[at].strip()!r}"
        caption = "Attention of every head from the last token; heads are LAYER.HEAD."
        return heat_figure(panel, title, caption, axes)


@torch.no_grad()
def attention(model: HookedModel, prompt: Prompt) -> Attention:
    """The attention patterns of a prompt.

    Raises:
        ValueError: If a layer has no attention pattern to read.
    """
    layers = range(model.cfg.n_layers)
    check_layers(model, layers)
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> tuple[str, object]:
        def read(pattern: Tensor, hook: object) -> None:
            kept[layer] = pattern[0].float().cpu()

        return pattern_name(layer), read

    if missing := [i for i in layers if pattern_name(i) not in model.hook_dict]:
        raise ValueError(f"layers {missing} of this model have no attention pattern to read")
    with model.hooks(fwd_hooks=[keep(layer) for layer in layers]):  # type: ignore[misc]
        run_blocks(model, prompt.tokens(model))
    return Attention(prompt.words(model), torch.stack([kept[i] for i in layers]).numpy())
