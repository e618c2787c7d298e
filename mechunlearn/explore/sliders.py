"""Turn a knob and see what the model answers: push along a direction, take heads out.

``push`` and ``removal`` make a function from the knob's place to a figure; ``stepped``
draws some places as one figure with a slider, which needs no running kernel; ``slider`` computes
every place as it is chosen, with ipywidgets.
"""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.errors import PrerequisiteError
from mechunlearn.explore.heat import without_legend
from mechunlearn.explore.prompt import Prompt, last_logits
from mechunlearn.hooks import check_layers, replace_units, unit_name
from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.types import HookedModel, Point

Place = int | float
Draw = Callable[[Place], go.Figure]
"""A figure for a place of the knob."""


def push(
    model: HookedModel, prompt: Prompt, direction: Float[Tensor, " d_model"], layer: int
) -> Draw:
    """Add so many lengths of a direction to a block's output, at every token.

    Raises:
        ValueError: If there is no such layer, or the direction points nowhere.
    """
    check_layers(model, [layer])
    if not float(direction.norm()) > 0:
        raise ValueError("the direction has length 0 and points nowhere")

    def draw(strength: Place) -> go.Figure:
        def add(activation: Tensor, hook: object) -> Tensor:
            return activation + strength * direction.to(activation)

        with model.hooks(fwd_hooks=[(Point(layer).name, add)]):
            return _answers(model, prompt, f"{strength:+g} times the direction at layer {layer}")

    return draw


def removal(model: HookedModel, prompt: Prompt, heads: Sequence[tuple[int, int]]) -> Draw:
    """Set the first so many of some heads, ``(layer, head)`` each, to zero at every token.

    Raises:
        ValueError: If there is no such layer or head.
    """
    check_layers(model, [layer for layer, _ in heads])
    if odd := [h for h in heads if not 0 <= h[1] < model.cfg.n_heads]:
        raise ValueError(f"heads {odd} do not exist: a layer has 0..{model.cfg.n_heads - 1}")

    def draw(count: Place) -> go.Figure:
        chosen = heads[: int(count)]
        by_layer: dict[int, list[int]] = {}
        for layer, head in chosen:
            by_layer.setdefault(layer, []).append(head)

        def remove(units: list[int]) -> Callable[..., Tensor]:
            index = torch.tensor(units, device=model.cfg.device)
            return lambda activation, hook: replace_units(activation, hook, index)

        hooks = [(unit_name(layer, "head"), remove(units)) for layer, units in by_layer.items()]
        names = ", ".join(f"{layer}.{head}" for layer, head in chosen) or "none"
        with model.hooks(fwd_hooks=hooks):
            return _answers(model, prompt, f"heads taken out: {names}")

    return draw


def _answers(model: HookedModel, prompt: Prompt, done: str) -> go.Figure:
    """Probability of every answer, among the whole vocabulary."""
    logits = last_logits(model, prompt.tokens(model))[0]
    p = logits.softmax(-1)[prompt.first_tokens(model)].tolist()
    names = [prompt.right.strip(), *(wrong.strip() for wrong in prompt.wrong)]
    colours = [LOOKS["attacked"].colour] + [LOOKS["original"].colour] * len(prompt.wrong)
    bars = go.Bar(
        x=names,
        y=[round(x, 4) for x in p],
        marker={"color": colours},
        hovertemplate="%{x}: probability %{y}<extra></extra>",
    )
    fig = go.Figure(bars)
    lay_out(
        fig,
        f"The right answer, {names[0]!r}, has probability {p[0]:.2f}",
        f"One text; {done}. The right answer stands first.",
        height=240,
    )
    without_legend(fig)
    fig.update_xaxes(title="answer", type="category")
    return fig.update_yaxes(title="probability", range=[0, 1])


def stepped(draw: Draw, places: Sequence[Place], label: str) -> go.Figure:
    """Some places of a knob as one figure with a slider; it moves wherever figures hover.

    Raises:
        ValueError: If no place is given.
    """
    if not places:
        raise ValueError("a slider needs at least one place")
    drawn = [draw(place) for place in places]
    fig = go.Figure(drawn[0])
    steps = [
        {
            "label": f"{place:g}",
            "method": "update",
            "args": [
                {"y": [list(trace.y) for trace in each.data]},
                {"title.text": each.layout.title.text},
            ],
        }
        for place, each in zip(places, drawn, strict=True)
    ]
    fig.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": f"{label}: "}, "pad": {"t": 50}}],
        height=fig.layout.height + 60,
    )
    return fig


def slider(draw: Draw, low: Place, high: Place, step: Place, label: str) -> Any:
    """The same with every place computed as it is chosen; needs a running kernel and ipywidgets.

    Returns:
        A widget, which a notebook shows.

    Raises:
        PrerequisiteError: If ipywidgets is not installed.
    """
    try:
        import ipywidgets
    except ImportError as err:
        raise PrerequisiteError(
            "a live slider needs ipywidgets: pip install 'mechunlearn[notebooks]'; stepped(...) "
            "needs none"
        ) from err
    knob = ipywidgets.FloatSlider(
        value=low, min=low, max=high, step=step, description=label, continuous_update=False
    )
    return ipywidgets.interactive(lambda place: draw(place), place=knob)
