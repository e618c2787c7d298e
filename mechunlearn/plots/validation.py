"""How often each attack and the verdict find what is there, and what is not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import plotly.graph_objects as go

from mechunlearn.analysis.verdict import CATEGORIES
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.template import LOOKS, SCALE, error_bars, lay_out, level, spaced
from mechunlearn.studies.conditions import FULL
from mechunlearn.studies.records import SITUATIONS, Rates, Situation, Truth, ValidationResult

_SHORT: dict[Situation, str] = {
    "treated": "treated control",
    "untreated": "untreated control",
    "twins": "twin questions",
    "none": "no control",
}


def validation(result: ValidationResult) -> go.Figure:
    """Sensitivity and false-alarm rate with 95 % intervals, for each kind of control."""
    names = list(dict.fromkeys(a for rates in result.situations.values() for a in rates.attacks))
    names.append("verdict")
    title = "The verdict, " + "; ".join(
        f"{SITUATIONS[name]}: sees knowledge in {seen} of {hidden} models that hide it, in {wrong} "
        f"of {gone} that do not"
        for name, (seen, hidden, wrong, gone) in _all_counts(result).items()
    )
    caption = (
        f"Models of known truth, n = {len(result.models)} audits; bars are 95 % intervals, the "
        "dotted line is the nominal 5 %. "
        "Filled: finds hidden knowledge; open: fires where nothing is hidden. An attack fires "
        "where its adjusted p is below 0.05 and it beats all its controls."
    )
    fig = lay_out(go.Figure(), title, caption, height=90 + 64 * len(names))
    shifts = dict(zip(result.situations, (-0.3, -0.1, 0.1, 0.3), strict=False))
    for situation, rates in result.situations.items():
        shown: dict[str, Rates] = {**rates.attacks, "verdict": rates.verdict}
        for kind, label in (("sensitivity", "finds"), ("false_alarm_rate", "false alarms")):
            _add_rates(fig, names, shown, kind, shifts[situation], f"{label}, {_SHORT[situation]}")
    level(fig, 0.05, "chance")
    fig.update_xaxes(title="share of models", range=[-0.02, 1.03])
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(map(spaced, names)),
        range=[len(names) - 0.5, -0.5],
    )
    return fig


def _add_rates(
    fig: go.Figure,
    names: Sequence[str],
    rates: Mapping[str, Rates],
    kind: str,
    shift: float,
    label: str,
) -> None:
    measured = {}
    for name, rate in rates.items():
        finds = kind == "sensitivity"
        value = rate.sensitivity if finds else rate.false_alarm_rate
        ci = rate.sensitivity_ci if finds else rate.false_alarm_rate_ci
        n = rate.sensitivity_n if finds else rate.false_alarm_rate_n
        if value is not None and ci is not None:
            measured[name] = value, ci, n
    look = LOOKS["attacked" if kind == "sensitivity" else "never_knew"]
    values = [value for value, _, _ in measured.values()]
    intervals = [ci for _, ci, _ in measured.values()]
    fig.add_scatter(
        x=values,
        y=[names.index(name) + shift for name in measured],
        error_x=error_bars(values, intervals, color=look.colour),
        mode="markers",
        name=label,
        marker={"color": look.colour, "symbol": look.marker, "size": 8},
        customdata=[[spaced(name), n, *ci] for name, (_, ci, n) in measured.items()],
        hovertemplate="%{customdata[0]}: %{x:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}]"
        " of %{customdata[1]} models<extra>" + label + "</extra>",
    )


def confusion(result: ValidationResult) -> go.Figure:
    """A table of what each kind of model is against what the verdict says of it."""
    truths = {suspect.condition: suspect.truth for suspect in result.models}
    order: tuple[Truth, ...] = get_args(Truth)
    counts: dict[str, Counter[str]] = {}
    for suspect in result.models:
        counts.setdefault(suspect.condition, Counter())[suspect.category] += 1
    names = sorted(counts, key=lambda name: order.index(truths[name]))
    table = [[counts[name][category] for category in CATEGORIES] for name in names]
    caption = (
        f"n = {sum(map(sum, table))} audits of models of known truth, each with up to four kinds "
        "of control; a row for what they are and a column for the verdict; numbers count audits, "
        "colour is the share of a row. Right are hidden, intact, openly answered or partly open "
        "for what is hidden; for what is gone all but hidden and intact, and open only where "
        "something was taught; not judged for what is broken. What is open counts for neither."
    )
    every = _all_counts(result).values()
    seen, hidden, wrong, gone = (sum(column) for column in zip(*every, strict=True))
    title = (
        f"In {seen + gone - wrong} of {hidden + gone} audits the verdict is right: it misses "
        f"{hidden - seen} of {hidden} that hide knowledge ({FULL} questions or more) and sees "
        f"some in {wrong} of {gone} that hide none"
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


def _all_counts(result: ValidationResult) -> dict[Situation, tuple[int, int, int, int]]:
    return {name: _counts(rates.verdict) for name, rates in result.situations.items()}


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
