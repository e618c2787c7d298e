"""What little finetuning brings back, and what the same finetuning teaches a never-knew model."""

from collections.abc import Mapping

import msgspec
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Arm, Course, Curve, Row
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.relearning_data import WordingTrace
from mechunlearn.plots.figure import TAUGHT, Figure, forget, original
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, small_headings, spaced
from mechunlearn.records import typed


class _Limit(msgspec.Struct, frozen=True):
    """Of an audit's settings what a title says."""

    retain_limit: float = 0.05


def _about(report: Report, unlearned: str) -> tuple[Row, ...]:
    courses = report.findings_of(unlearned).courses
    return tuple(r for r in report.rows_of(unlearned) if "unlearned" in courses.get(r.attack, {}))


def relearning(report: Report, unlearned: str) -> go.Figure:
    """A panel for each kind of data: accuracy against samples, every run of both models."""
    attacks, courses = _about(report, unlearned), report.findings_of(unlearned).courses
    down = (len(attacks) + 1) // 2
    fig = make_subplots(
        rows=down,
        cols=min(2, len(attacks)),
        subplot_titles=[_heading(report, row) for row in attacks],
        shared_yaxes=True,
        vertical_spacing=0.26 / max(2, down),
        horizontal_spacing=0.06,
    )
    caption = (
        f"Forget questions of the confirm fold, n = {attacks[0].n}; a line for each learning rate "
        "and seed, the chosen one strong, with 95 % intervals. Lines: chance (dotted), original "
        "(solid)."
    )
    lay_out(fig, _title(report, attacks, unlearned), caption, height=60 + 230 * down)
    shown: set[str] = set()
    for panel, row in enumerate(attacks):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        run = _run(courses[row.attack], row)
        for arm, course in _taught(courses[row.attack]).items():
            role = "attacked" if arm == "unlearned" else "never_knew"
            label = f"{unlearned}, relearning" if arm == "unlearned" else "never-knew, learning"
            for curve in course.curves:
                chosen = curve.run == run
                fig.add_trace(_line(curve, role, label, chosen, label not in shown), **place)
                shown |= {label} if chosen else set()
        level(fig, report.runcard.task.chance, "chance", "y", **place)
        level(fig, original(report).value, "original", "y", **place)
    fig.update_yaxes(range=[0, 1.05])
    fig.update_yaxes(title="accuracy", col=1)
    curves = [c for r in attacks for arm in _taught(courses[r.attack]).values() for c in arm.curves]
    most = max(p.samples for curve in curves for p in curve.points)
    ticks = [2**i for i in range(0, most.bit_length(), 2)]
    fig.update_xaxes(type="log", tickvals=ticks)
    for column in (1, 2)[: len(attacks)]:
        bottom = down if len(attacks) % 2 == 0 or column == 1 else down - 1
        fig.update_xaxes(title="samples trained on", row=bottom, col=column)
    return small_headings(fig)


def _heading(report: Report, row: Row) -> str:
    """The attack, what it had to know, and how much of the questions' wording it trained on."""
    heading = ": ".join(filter(None, (spaced(row.attack), row.evidence)))
    trace = report.findings_of(row.model).trace(WordingTrace, row.attack)
    return heading if trace is None else f"{heading}, {trace.share:.0%} of the wording"


def _line(curve: Curve, role: str, label: str, chosen: bool, first: bool) -> go.Scatter:
    look, points = LOOKS[role], [p for p in curve.points if p.steps]
    y = [p.value for p in points]
    intervals = [p.value_ci for p in points]
    return go.Scatter(
        x=[p.samples for p in points],
        y=y,
        error_y=error_bars(y, intervals, width=2) if chosen else None,
        mode="lines+markers" if chosen else "lines",
        name=label,
        legendgroup=role,
        showlegend=chosen and first,
        opacity=1.0 if chosen else 0.35,
        line={"color": look.colour, "dash": look.dash, "width": 2.2 if chosen else 1.2},
        marker={"symbol": look.marker, "size": 7},
        customdata=[[p.retain, p.tokens, *p.value_ci] for p in points],
        hovertemplate=f"{curve.run}<br>%{{x}} samples, "
        "%{customdata[1]} tokens of forget information<br>accuracy %{y:.3f} "
        "[%{customdata[2]:.3f}, %{customdata[3]:.3f}], retain %{customdata[0]:.3f}<extra>"
        + label
        + "</extra>",
    )


def _taught(arms: Mapping[Arm, Course]) -> dict[Arm, Course]:
    return {arm: arms[arm] for arm in TAUGHT if arm in arms}


def _run(arms: Mapping[Arm, Course], row: Row) -> str:
    """The run that holds the chosen variant."""
    curves = arms["unlearned"].curves
    return next((c.run for c in curves if row.variant in c.variants), "")


def _title(report: Report, attacks: tuple[Row, ...], unlearned: str) -> str:
    courses = report.findings_of(unlearned).courses
    arms = [(row, courses[row.attack]) for row in attacks]
    for row, course in arms:
        half, other = course["unlearned"].half, course.get("never_knew")
        if half is None:
            continue
        data = row.evidence or spaced(row.attack)
        text = f"{half.samples} samples of {data} bring {unlearned} half-way back"
        if other is None:
            return text
        if other.half is None:
            return f"{text}; the never-knew model gets there with none of {other.most_samples}"
        return f"{text}, against {other.half.samples} for the never-knew model"
    middle = (original(report).value + forget(report, unlearned).value) / 2
    curves = [curve for _, course in arms for curve in course["unlearned"].curves]
    reached = any(p.value >= middle for curve in curves for p in curve.points)
    limit = typed(report.runcard.settings, _Limit, "settings of the run").retain_limit
    return f"Relearning brings {unlearned} half-way back with none of these data" + (
        f" without losing more than {limit:.0%} of retain accuracy" if reached else ""
    )


FIGURE = Figure(
    kind="relearning",
    explains="Accuracy along finetuning runs; the never-knew model's is the price of teaching.",
    draw=relearning,
    about=_about,
)
