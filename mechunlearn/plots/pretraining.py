"""How organisms learned: the loss of every kind of document against steps."""

from collections.abc import Mapping
from itertools import cycle

import msgspec
import plotly.graph_objects as go

from mechunlearn.organisms.settings import ChatRecipe
from mechunlearn.plots.template import LINE, LOOKS, lay_out

COLOURS = (*dict.fromkeys(look.colour for look in LOOKS.values()),)
"""One for each kind."""
DASHES = ("solid", "dash", "dot", "dashdot")
"""One for each model."""
WORDS = ", words"
"""How the names of loss terms end that answer nothing."""


class PretrainingCard(msgspec.Struct, frozen=True):
    """Of an organism's ``card.json`` what the figure shows."""

    cpu_seconds: int
    curves: dict[str, tuple[float, ...]]
    """``step``, and the mean loss of every term since the step before."""


def pretraining(cards: Mapping[str, PretrainingCard]) -> go.Figure:
    """The loss of answers by kind of document, on a logarithmic scale; one dash for each model.

    What single heads of a chat organism are taught is left out.

    Args:
        cards: By what the models are called; the first one's losses are the finding.
    """
    fig = go.Figure()
    first, *_ = cards.values()
    other = {"step", *ChatRecipe().taught}
    kinds = [k for k in first.curves if k not in other and not k.endswith(WORDS)]
    ends = ", ".join(f"{kind} {first.curves[kind][-1]:.2g}" for kind in kinds)
    seconds = ", ".join(f"{name} {card.cpu_seconds} s" for name, card in cards.items())
    caption = (
        "Cross-entropy of a document's answer tokens, a mean of the steps since the point before. "
        f"n = {first.curves['step'][-1]:.0f} steps. CPU time: {seconds}."
    )
    lay_out(fig, f"{next(iter(cards))}, loss at the end: {ends}", caption, height=380)
    for (name, card), dash in zip(cards.items(), cycle(DASHES), strict=False):
        for kind, colour in zip(kinds, cycle(COLOURS), strict=False):
            fig.add_scatter(
                x=card.curves["step"],
                y=card.curves[kind],
                name=f"{kind}, {name}",
                mode="lines",
                line={"color": colour, "dash": dash, "width": 1.8},
                hovertemplate="step %{x}<br>loss %{y:.3g}<extra></extra>",
            )
    fig.update_xaxes(title="step", linecolor=LINE)
    fig.update_yaxes(title="loss of answers", type="log")
    return fig
