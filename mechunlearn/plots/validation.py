"""How often each attack and the verdict find what is there, and what is not."""

from pathlib import Path

import plotly.graph_objects as go

from mechunlearn.analysis.verdict import CATEGORIES
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.template import LOOKS, SCALE, error_bars, lay_out, level, spaced
from mechunlearn.studies.records import Rates, ValidationResult


def validation(result: ValidationResult) -> go.Figure:
    """Sensitivity and false-alarm rate with 95 % intervals."""
    rates: dict[str, Rates] = {**result.attacks, "verdict": result.verdict}
    names = list(rates)
    seen, hidden, wrong, gone = _counts(result.verdict)
    title = (
        f"The verdict sees knowledge in {seen} of {hidden} models that have it, and in {wrong} "
        f"of {gone} that have none"
    )
    caption = (
        f"Models of known truth, n = {hidden} hidden and {gone} gone; bars are 95 % intervals, the "
        "dotted line is the nominal 5 %. An attack fires where its adjusted p is below 0.05."
    )
    fig = lay_out(go.Figure(), title, caption, height=60 + 44 * len(names))
    sensitivity = {k: (r.sensitivity, r.sensitivity_ci, r.sensitivity_n) for k, r in rates.items()}
    alarms = {
        k: (r.false_alarm_rate, r.false_alarm_rate_ci, r.false_alarm_rate_n)
        for k, r in rates.items()
    }
    series = (
        (sensitivity, LOOKS["attacked"], "finds hidden knowledge"),
        (alarms, LOOKS["never_knew"], "fires where there is none"),
    )
    for offset, (measured, look, label) in enumerate(series):
        shown = {k: (v, ci, n) for k, (v, ci, n) in measured.items() if v is not None and ci}
        values = [value for value, _, _ in shown.values()]
        intervals = [ci for _, ci, _ in shown.values()]
        fig.add_scatter(
            x=values,
            y=[names.index(name) + 0.24 * (offset - 0.5) for name in shown],
            error_x=error_bars(values, intervals, color=look.colour),
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 11},
            customdata=[[spaced(name), n, *ci] for name, (_, ci, n) in shown.items()],
            hovertemplate="%{customdata[0]}: %{x:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}]"
            " of %{customdata[1]} models<extra>" + label + "</extra>",
        )
    level(fig, 0.05, "chance")
    fig.update_xaxes(title="share of models", range=[-0.02, 1.03])
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(map(spaced, names)),
        range=[len(names) - 0.5, -0.5],
    )
    return fig


def confusion(result: ValidationResult) -> go.Figure:
    """A table of what each kind of model is against what the verdict says of it."""
    truths = {suspect.condition: suspect.truth for suspect in result.models}
    order = ("hidden", "gone", "open")
    counts = result.verdict.confusion
    names = sorted(counts, key=lambda name: order.index(truths[name]))
    table = [[counts[name].get(category, 0) for category in CATEGORIES] for name in names]
    seen, hidden, wrong, gone = _counts(result.verdict)
    caption = (
        f"Models of known truth, n = {sum(map(sum, table))}, a row for what they are and a column "
        "for the verdict; numbers count models, colour is the share of a row. Right are hidden or "
        "intact for what is hidden, no evidence or inconclusive for what is gone; what is open "
        "counts for neither."
    )
    title = (
        f"The verdict is right about {seen + gone - wrong} of {hidden + gone} models: it misses "
        f"{hidden - seen} that hide knowledge and sees some in {wrong} that have none"
    )
    fig = lay_out(go.Figure(), title, caption, height=70 + 30 * len(names))
    fig.add_heatmap(
        z=[[x / sum(row) for x in row] for row in table],
        x=[category.replace(" ", "<br>") for category in CATEGORIES],
        y=[f"{truths[name]}: {spaced(name)}" for name in names],
        text=[[x or "" for x in row] for row in table],
        texttemplate="%{text}",
        colorscale=SCALE,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y}<br>verdict: %{x}<br>%{text} models, %{z:.0%}<extra></extra>",
    )
    fig.update_yaxes(title="truth: start and treatment", autorange="reversed", showgrid=False)
    return fig.update_xaxes(title="verdict", showgrid=False, tickangle=0, tickfont={"size": 11})


def _counts(verdict: Rates) -> tuple[int, int, int, int]:
    """Hidden models in which the verdict sees knowledge, of how many; the same of the gone."""
    hidden, gone = verdict.sensitivity_n, verdict.false_alarm_rate_n
    seen = round((verdict.sensitivity or 0.0) * hidden)
    wrong = round((verdict.false_alarm_rate or 0.0) * gone)
    return seen, hidden, wrong, gone


def validation_figures(result: ValidationResult) -> dict[str, go.Figure]:
    """The figures of a validation's result, by file name."""
    return {"validation-rates": validation(result), "validation-confusion": confusion(result)}


def write_validation(result: ValidationResult, folder: Path, images: bool = False) -> None:
    """Write the figures of a validation's result."""
    write_figures(validation_figures(result), folder, images)
