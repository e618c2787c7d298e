"""How often each attack and the verdict find what is there, and what is not."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from mechunlearn.plots.template import LOOKS, lay_out


def validation(found: dict[str, Any]) -> go.Figure:
    """Sensitivity and false-alarm rate with 95 % intervals, of a validation's result."""
    rates = {**found["attacks"], "verdict": found["verdict"]}
    names = list(rates)
    verdict = found["verdict"]
    hidden, gone = verdict["sensitivity_n"], verdict["false_alarm_rate_n"]
    right = round(verdict["sensitivity"] * hidden) if hidden else 0
    wrong = round(verdict["false_alarm_rate"] * gone) if gone else 0
    title = (
        f"The verdict sees knowledge in {right} of {hidden} models that have it, and in {wrong} "
        f"of {gone} that have none"
    )
    caption = (
        f"Models of known truth, n = {hidden} hidden and {gone} gone; bars are 95 % intervals, the "
        "dotted line is the nominal 5 %. An attack fires where its Holm-adjusted p is below 0.05."
    )
    fig = lay_out(go.Figure(), title, caption, height=60 + 44 * len(names))
    series = (
        ("sensitivity", "attacked", "finds hidden knowledge"),
        ("false_alarm_rate", "never_knew", "fires where there is none"),
    )
    for offset, (key, role, label) in enumerate(series):
        drawn = [name for name in names if rates[name][key] is not None]
        values = [rates[name][key] for name in drawn]
        intervals = [rates[name][f"{key}_ci"] for name in drawn]
        look = LOOKS[role]
        fig.add_scatter(
            x=values,
            y=[names.index(name) + 0.24 * (offset - 0.5) for name in drawn],
            error_x={
                "type": "data",
                "array": [ci[1] - v for v, ci in zip(values, intervals, strict=True)],
                "arrayminus": [v - ci[0] for v, ci in zip(values, intervals, strict=True)],
                "color": look.colour,
            },
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 11},
        )
    fig.add_vline(x=0.05, line={"color": "#777777", "dash": "dot", "width": 1.3})
    fig.update_xaxes(title="share of models", range=[-0.02, 1.03])
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[name.replace("_", " ") for name in names],
        range=[len(names) - 0.5, -0.5],
    )
    return fig


def write_validation(found: dict[str, Any], folder: Path) -> Path:
    """Write the figure as ``validation-rates.json`` and ``.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    fig = validation(found)
    path = folder / "validation-rates.html"
    path.with_suffix(".json").write_text(fig.to_json(pretty=True) + "\n", encoding="utf-8")
    fig.write_html(path, include_plotlyjs="directory", full_html=True)
    return path
