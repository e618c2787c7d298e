"""What a search of many trials found, and what of it carries over to other questions."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Arm, Row
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.trials import SearchTrace, SearchTrial
from mechunlearn.plots.figure import TAUGHT, Figure, Place, control, forget, traced
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, small_headings

LEAST = 1e-4
"""Nats; smaller divergences are drawn there."""
_about = traced(SearchTrace)


def search(report: Report, unlearned: str) -> go.Figure:
    """Value against divergence of every trial; a panel for each model that was searched."""
    row = max(_about(report, unlearned), key=lambda row: row.value)
    findings = report.findings_of(unlearned)
    found = {arm: findings.trace(SearchTrace, row.attack, arm) for arm in TAUGHT}
    panels = {arm: trace for arm, trace in found.items() if trace is not None}
    headings = {"unlearned": unlearned, "never_knew": "never-knew control, searched anew"}
    fig = make_subplots(
        rows=1,
        cols=len(panels),
        subplot_titles=[headings[arm] for arm in panels],
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    caption = (
        f"{len(panels['unlearned'].trials)} trials on each model. Their value is that of one half "
        "of the forget questions of the select fold; the line joins those that the other half "
        "judged anew, which chose. Divergence: KL from the original, of the first token on retain "
        f"prompts. Chosen trial: confirm fold, n = {row.n}, 95 % interval; dotted: the same "
        "without the attack."
    )
    lay_out(fig, _title(row, panels), caption, height=340)
    for column, (arm, trace) in enumerate(panels.items(), start=1):
        place = {"row": 1, "col": column}
        _trials(fig, trace, arm, column == 1, place)
        _confirmed(fig, report, row, arm, trace, place)
    fig.update_xaxes(title="divergence (nats)", type="log", dtick=1)
    fig.update_yaxes(title="accuracy on forget questions", range=[0, 1.03], col=1)
    return small_headings(fig)


def best(trace: SearchTrace) -> SearchTrial:
    """The trial within the limits of the greatest value; of all, where none keeps them."""
    within = [trial for trial in trace.trials if trial.within]
    return max(within or trace.trials, key=lambda trial: trial.value)


def _title(row: Row, panels: dict[Arm, SearchTrace]) -> str:
    values = {"unlearned": row.value, "never_knew": row.control}
    names = {"unlearned": row.model, "never_knew": "the control"}
    parts = [
        f"{names[arm]} {best(trace).value:.0%}, and {values[arm]:.0%} on the confirm fold"
        for arm, trace in panels.items()
        if values[arm] is not None
    ]
    trials = len(panels["unlearned"].trials)
    return f"Best of {trials} trials where they are judged: {'; '.join(parts)}"


def _trials(fig: go.Figure, trace: SearchTrace, arm: Arm, legend: bool, place: Place) -> None:
    look = LOOKS["attacked" if arm == "unlearned" else "never_knew"]
    for within, name in ((False, "beyond a limit"), (True, "within the limits")):
        some = [trial for trial in trace.trials if trial.within is within]
        marker = {"color": look.colour, "size": 6, "symbol": "circle" if within else "x-thin-open"}
        _points(fig, some, f"trial {name}", legend, place, marker=marker, mode="markers")
    front = sorted((t for t in trace.trials if t.judged is not None), key=lambda t: t.divergence)
    line = {"color": look.colour, "width": 1.5, "shape": "hv"}
    marker = {"color": look.colour, "size": 10, "symbol": "circle-open"}
    _points(fig, front, "judged anew", legend, place, line=line, marker=marker)


def _points(
    fig: go.Figure,
    trials: Sequence[SearchTrial],
    name: str,
    legend: bool,
    place: Place,
    mode: str = "lines+markers",
    **style: object,
) -> None:
    fig.add_scatter(
        x=[max(trial.divergence, LEAST) for trial in trials],
        y=[trial.value for trial in trials],
        mode=mode,
        name=name,
        legendgroup=name,
        showlegend=legend and bool(trials),
        customdata=[
            [t.divergence, t.retain, "not judged" if t.judged is None else f"{t.judged:.3f}"]
            for t in trials
        ],
        hovertemplate="%{y:.3f}; other half %{customdata[2]}<br>divergence %{customdata[0]:.3g}, "
        "retain %{customdata[1]:.3f}<extra></extra>",
        **style,
        **place,
    )


def _confirmed(
    fig: go.Figure, report: Report, row: Row, arm: Arm, trace: SearchTrace, place: Place
) -> None:
    """The chosen trial where it is reported, and the model without the attack."""
    plain = forget(report, row.model) if arm == "unlearned" else control(report, row.model)
    value = row.value if arm == "unlearned" else row.control
    if plain is None or value is None:
        return
    level(fig, plain.value, "chance", "y", **place)
    chosen = trace.before if trace.chosen is None else trace.trials[trace.chosen]
    interval = row.value_ci if arm == "unlearned" else row.control_ci
    fig.add_scatter(
        x=[max(chosen.divergence, LEAST)],
        y=[value],
        error_y=error_bars([value], [interval], color="#1b1b1b", thickness=1.5),
        mode="markers",
        name="chosen trial, confirm fold",
        legendgroup="confirm",
        showlegend=arm == "unlearned",
        marker={"color": "#1b1b1b", "size": 11, "symbol": "star"},
        hovertemplate="confirm fold %{y:.3f}<extra></extra>",
        **place,
    )


FIGURE = Figure(
    kind="search",
    explains="Every trial of a search, those that no other beats, and what the chosen one is worth "
    "on questions that decided nothing.",
    draw=search,
    about=_about,
)
