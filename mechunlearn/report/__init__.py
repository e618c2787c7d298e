"""The report page: one self-contained HTML file, a pure function of the report."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from mechunlearn.plots import figures
from mechunlearn.plots.template import without_title
from mechunlearn.types import Report

HEADINGS = {
    "recovery": ("What each attack brings back", "Every attack beside its controls."),
    "comparison": (
        "What each attack brings back from each model",
        "Every unlearned model under every attack, beside its control.",
    ),
    "forest": ("Recovery with its uncertainty", "Estimates, intervals and what controls gain."),
    "frontier": ("What it costs", "Recovered accuracy against each price of an attack."),
    "lens_by_method": (
        "Where the answer can be read in each model",
        "The final norm and unembedding applied to inner streams at the last prompt token.",
    ),
    "letters": ("Which letters are said", "Predicted against right letters, without any attack."),
    "overlap": (
        "Which questions come back",
        "Every lost question by the exact set of attacks that answer it.",
    ),
    "lens": (
        "Where the answer can be read",
        "The final norm and unembedding applied to inner streams at the last prompt token.",
    ),
    "projection": (
        "What unlearning moved",
        "Activations projected on the direction that the ablation removes.",
    ),
    "pruning": (
        "What can be taken out",
        "Weights, neurons or heads that forgetting needs and nothing else does.",
    ),
    "relearning": (
        "What a little training brings back",
        "Accuracy along finetuning runs; the never-knew model's is the price of teaching.",
    ),
    "perturbation": (
        "What asking differently brings back",
        "Prompts changed at random, where activations point along the direction, or by templates.",
    ),
    "gcg": (
        "What an optimised text brings back",
        "One short text in every prompt, found by greedy coordinate gradient on other questions.",
    ),
}


def render(report: Report) -> str:
    """The page as text; everything from models and data is escaped."""
    environment = Environment(
        loader=PackageLoader("mechunlearn", "report"), autoescape=True, undefined=StrictUndefined
    )
    unlearned = list(dict.fromkeys(row["unlearned"] for row in report.rows))
    card = report.runcard
    control = report.rows[0]["control"]
    drawn: list[dict[str, str]] = []
    for name, fig in figures(report).items():
        kind, _, model = name.partition("-")
        heading, what = HEADINGS[kind]
        html = without_title(fig).to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"figure-{len(drawn)}",
            config={"responsive": True, "displaylogo": False, "displayModeBar": False},
        )
        heading = heading if len(unlearned) == 1 else f"{heading}: {model}"
        words_ = {"finding": fig.layout.meta["finding"], "caption": fig.layout.meta["caption"]}
        drawn.append({"heading": heading, "what": what, "html": html, **words_})
    tried = {name: report.details[name].get("tried", {}) for name in unlearned}
    return environment.get_template("page.html.j2").render(
        title="Is it gone, or only hidden? "
        f"{card['settings']['original']} on {card['task']['name']}",
        report=report,
        unlearned=unlearned,
        control_text=(
            "The control of each attack is a model that never knew the facts, treated alike."
            if control == "never_knew"
            else "There is no model that never knew these facts, so a sham attack of the same size "
            "is the control."
        ),
        figures=drawn,
        sets=list(report.baselines["original"]),
        guess=report.details["guessing"],
        plotly_js=get_plotlyjs(),
        card=json.dumps(card, indent=1, ensure_ascii=False),
        tried=_lines(tried),
        pct=percent,
        words=words,
    )


def write_page(report: Report, path: Path) -> Path:
    """Write the page."""
    path.write_text(render(report), encoding="utf-8")
    return path


def percent(value: float | None, ci: list[float] | None = None) -> str:
    """``0.253`` as ``25.3``, with its interval where there is one; a dash for nothing."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" + (f" [{100 * ci[0]:.0f}, {100 * ci[1]:.0f}]" if ci else "")


def words(settings: dict[str, Any]) -> str:
    """Settings in one line."""

    def value(v: Any) -> str:
        if isinstance(v, list) and len(v) > 3 and v == list(range(v[0], v[-1] + 1)):
            return f"{v[0]} to {v[-1]}"
        return ", ".join(map(str, v)) if isinstance(v, list) else str(v).replace("_", " ")

    return "; ".join(f"{k} {value(v)}" for k, v in settings.items())


def _lines(tried: dict[str, Any]) -> str:
    """One line per setting."""
    return "\n".join(
        f"{model}  {attack}  {words(settings)}"
        for model, attacks in tried.items()
        for attack, every in attacks.items()
        for settings in every
    )
