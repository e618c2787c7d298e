"""How an unlearning run went: accuracy and loss terms against steps."""

from pathlib import Path

import msgspec
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.plots.template import LOOKS, lay_out, level
from mechunlearn.records import Plain, typed


class Measurement(msgspec.Struct, frozen=True):
    """Accuracies on the select fold after some steps."""

    step: int
    forget: float = msgspec.field(name="forget accuracy")
    retain: float = msgspec.field(name="retain accuracy")


class TrainingTask(msgspec.Struct, frozen=True):
    """What was unlearned."""

    name: str
    chance: float


class TrainingCard(msgspec.Struct, frozen=True):
    """Of an unlearning RunCard what the figure shows."""

    method: str
    task: TrainingTask
    measured: tuple[Measurement, ...]
    terms: dict[str, tuple[float, ...]]
    """Loss terms by name, a value for each step."""


def training(card: TrainingCard) -> go.Figure:
    """Two panels: accuracy on the select fold, and the loss terms."""
    curves = {
        "forget": [m.forget for m in card.measured],
        "retain": [m.retain for m in card.measured],
    }
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    ends = [f"{y[0]:.0%} to {y[-1]:.0%}" for y in curves.values()]
    title = f"{card.method}: forget accuracy {ends[0]}, retain {ends[1]}"
    caption = (
        f"{card.task.name}, select fold; the dotted line is chance. Below: the weighted "
        "terms of the loss, a mean of 5 steps."
    )
    lay_out(fig, title, caption, height=460)
    for role, y in curves.items():
        look = LOOKS[role]
        fig.add_scatter(
            x=[m.step for m in card.measured],
            y=y,
            name=f"{role} accuracy",
            mode="lines+markers",
            line={"color": look.colour, "dash": look.dash},
            marker={"symbol": look.marker, "size": 7},
            hovertemplate="step %{x}<br>accuracy %{y:.3f}<extra></extra>",
            row=1,
            col=1,
        )
    level(fig, card.task.chance, "chance", "y", row=1, col=1)
    for name, values in card.terms.items():
        look = LOOKS.get(name, LOOKS["forget"])
        smooth = [sum(values[max(0, i - 4) : i + 1]) / min(5, i + 1) for i in range(len(values))]
        fig.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=[float(f"{v:.5g}") for v in smooth],
            name=f"{name} loss",
            mode="lines",
            line={"color": look.colour, "dash": look.dash, "width": 1.5},
            opacity=0.7,
            hovertemplate="step %{x}<br>loss %{y:.4g}<extra></extra>",
            row=2,
            col=1,
        )
    fig.update_yaxes(title="accuracy", range=[-0.03, 1.05], row=1, col=1)
    fig.update_yaxes(title="loss term", row=2, col=1)
    fig.update_xaxes(title="step", row=2, col=1)
    return fig


def write_training(card: Plain, folder: Path) -> None:
    """Write the figure of an unlearning RunCard as ``training.json`` and ``training.html``.

    Raises:
        ValueError: If the card lacks something.
    """
    fig = training(typed(card, TrainingCard, "the RunCard"))
    (folder / "training.json").write_text(fig.to_json(pretty=True) + "\n", encoding="utf-8")
    fig.write_html(folder / "training.html", include_plotlyjs=True, full_html=True)
