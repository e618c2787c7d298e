"""What changed prompts bring back: every kind tried, at its best."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import significant
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level
from mechunlearn.stats import wilson

FAMILIES = ("perturbation_naive", "perturbation_informed", "jailbreak")
KIND = {"perturbation_naive": "kind", "perturbation_informed": "change", "jailbreak": "template"}
"""The setting that names a variant."""
SHOWN = 16
"""Bars drawn at most: the highest."""


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    accuracy: float
    """On the forget questions of the select fold, at the kind's best setting."""
    retain: float | None
    """Measured only where the choice of settings came to it."""
    refused: bool
    """Whether it lost more retain accuracy than allowed."""


def perturbation(report: Report, unlearned: str) -> go.Figure:
    """The highest bars of select-fold accuracy by kind of change, at each kind's best setting."""
    rows = {
        r["attack"]: r
        for r in report.rows
        if r["unlearned"] == unlearned and r["attack"] in FAMILIES
    }
    kinds = _kinds(report.details[unlearned]["tried"], rows)
    before = report.baselines[unlearned]["forget"]["accuracy"]
    original = report.baselines["original"]["forget"]["accuracy"]
    chance = report.runcard["task"]["chance"]
    n = report.runcard["task"]["n"]["forget, select"]
    caption = (
        f"Forget questions of the select fold, n = {n}, with 95 % intervals; each kind at its "
        "best, so the highest is high by chance too; hatched: costs more retain accuracy than "
        f"allowed. Title: confirm fold, n = {next(iter(rows.values()))['n']}. Lines: chance "
        f"{chance:.2f} (dotted), {unlearned} {before:.2f} (dashed), original {original:.2f} "
        "(solid)."
    )
    title = _title(kinds, list(rows.values()), unlearned, before)
    fig = lay_out(go.Figure(), title, caption, height=60 + 18 * len(kinds))
    x = [k.accuracy for k in kinds]
    intervals = [wilson(round(v * n), n) for v in x]
    look = LOOKS["attacked"].colour
    fig.add_bar(
        x=x,
        y=[k.name for k in kinds],
        orientation="h",
        error_x=error_bars(x, intervals, color="#1b1b1b", width=0, thickness=1),
        marker={
            "color": look,
            "pattern": {"shape": ["/" if k.refused else "" for k in kinds], "fillmode": "replace"},
        },
        customdata=[
            [*ci, "not measured" if k.retain is None else f"{k.retain:.3f}"]
            for k, ci in zip(kinds, intervals, strict=True)
        ],
        hovertemplate="%{y}<br>accuracy %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        "<br>retain accuracy %{customdata[2]}<extra></extra>",
    )
    level(fig, chance, "chance")
    level(fig, before, "unlearned")
    level(fig, original, "original")
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    names = [k.name for k in kinds]
    fig.update_yaxes(tickfont={"size": 11}, ticktext=names, tickvals=names)
    return fig


def _kinds(tried: dict[str, Any], rows: dict[str, dict[str, Any]]) -> list[_Kind]:
    """The kinds that reach most, the best last."""
    best: dict[str, _Kind] = {}
    for family, row in rows.items():
        for s in tried[family]:
            name = f"{family.removeprefix('perturbation_')}: {s[KIND[family]]}"
            chosen = all(s.get(k) == v for k, v in row["settings"].items())
            retain = s.get("retain_select")
            # Settings are taken in the order of their gain until one costs little enough.
            refused = retain is not None and not (chosen and row["within_limit"])
            found = _Kind(name, s["forget_select"], retain, refused)
            if name not in best or found.accuracy > best[name].accuracy:
                best[name] = found
    return sorted(best.values(), key=lambda k: k.accuracy)[-SHOWN:]


def _title(kinds: list[_Kind], rows: list[dict[str, Any]], unlearned: str, before: float) -> str:
    top = max(rows, key=lambda r: r["accuracy"])
    sham = f"the sham reaches {top['sham_accuracy']:.0%}"
    if any(map(significant, rows)):
        what = "Jailbreaks" if top["attack"] == "jailbreak" else "Changed prompts"
        return f"{what} take {unlearned} from {before:.0%} to {top['accuracy']:.0%}; {sham}"
    title = (
        f"No change of the prompt that spares retain accuracy moves {unlearned} beyond its "
        f"control: {before:.0%} to {top['accuracy']:.0%}; {sham}"
    )
    costly = max((k.accuracy for k in kinds if k.refused), default=0.0)
    return title + (
        f"; costlier ones reach {costly:.0%} of the select fold"
        if costly > top["accuracy"] + 0.1
        else ""
    )
