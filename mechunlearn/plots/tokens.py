"""One prompt, token by token and layer by layer: how high the right answer stands."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.attacks.logit_lens import TokenLens
from mechunlearn.plots.lens import TITLES
from mechunlearn.plots.template import SCALE, lay_out, small_headings

TEXT_UP_TO = 12
"""With more layers the ranks stand in the hover text alone."""
SHOWN = 40
"""Tokens drawn at most: the last."""


def tokens(views: Mapping[str, TokenLens], shown: int = SHOWN) -> go.Figure:
    """Models side by side: colour is the right answer's probability, the number its rank (0: top).

    Args:
        views: Model's name -> what ``token_lens`` read in it, of the same prompt.
        shown: Tokens drawn at most; the first ones are left out.

    Raises:
        ValueError: If there is no view, or the views are of different prompts.
    """
    first = next(iter(views.values()), None)
    if first is None or len({(*v.tokens, v.answer) for v in views.values()}) > 1:
        raise ValueError("the token view needs one prompt and answer, read in at least one model")
    labels = first.tokens[-shown:]
    fig = make_subplots(
        rows=1,
        cols=len(views),
        subplot_titles=list(views),
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    caption = (
        f"One prompt, n = 1, its last {len(labels)} tokens; {TITLES[first.stream]} read by the "
        f"final norm and unembedding. Colour: probability of {first.answer!r} among "
        f"{first.n_vocabulary:,} tokens (chance {1 / first.n_vocabulary:.1g}); numbers: tokens "
        "that stand above it."
    )
    lay_out(fig, _title(views), caption, height=40 + 19 * len(labels))
    for column, (name, view) in enumerate(views.items(), start=1):
        _ranks(fig, name, view, shown, column)
    fig.update_layout(
        coloraxis={
            "colorscale": SCALE,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": "probability", "thickness": 12},
        }
    )
    fig.update_xaxes(title="layer", tickformat="d", dtick=max(1, first.ranks.shape[0] // 8))
    fig.update_yaxes(showgrid=False, range=[len(labels) - 0.5, -0.5])
    fig.update_yaxes(
        title="prompt",
        tickvals=list(range(len(labels))),
        ticktext=labels,
        tickfont={"size": 11},
        col=1,
    )
    return small_headings(fig)


def _ranks(fig: go.Figure, name: str, view: TokenLens, shown: int, column: int) -> None:
    labels = view.tokens[-shown:]
    ranks, chances = view.ranks.T[-shown:], view.probabilities.T[-shown:]
    fig.add_heatmap(
        z=np.round(chances, 4).tolist(),
        x=list(range(ranks.shape[1])),
        y=list(range(len(labels))),
        text=ranks.tolist(),
        texttemplate="%{text}" if ranks.shape[1] <= TEXT_UP_TO else None,
        textfont={"size": 10},
        customdata=[[label] * ranks.shape[1] for label in labels],
        coloraxis="coloraxis",
        hovertemplate=name + ", layer %{x}, after %{customdata}<br>probability %{z:.4f}, "
        "rank %{text}<extra></extra>",
        row=1,
        col=column,
    )


def _title(views: Mapping[str, TokenLens]) -> str:
    """Where the right answer comes first at the end of the prompt, in each model."""
    parts = []
    for name, view in views.items():
        last = view.ranks[:, -1]
        top = np.flatnonzero(last == 0)
        if len(top) and top[-1] == len(last) - 1:
            start = int(top[-1] - np.argmax(np.flip(last != 0))) + 1 if (last != 0).any() else 0
            parts.append(f"in {name} it is on top from layer {start} on")
        else:
            parts.append(f"in {name} it ends at rank {last[-1]}, at best {last.min()}")
    return f"The right answer at the last token: {'; '.join(parts)}"
