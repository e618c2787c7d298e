"""Figures: pure functions from a report, or from what an attack found, to plotly figures."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import plotly.graph_objects as go

from mechunlearn.analysis.records import Report
from mechunlearn.plots.attribution import matrices, units
from mechunlearn.plots.comparison import comparison
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.forest import forest
from mechunlearn.plots.frontier import frontier
from mechunlearn.plots.gcg import gcg
from mechunlearn.plots.lens import lens, lens_by_method
from mechunlearn.plots.letters import letters
from mechunlearn.plots.overlap import overlap
from mechunlearn.plots.perturbation import FAMILIES, perturbation
from mechunlearn.plots.projection import projection
from mechunlearn.plots.pruning import pruning
from mechunlearn.plots.recovery import recovery
from mechunlearn.plots.relearning import relearning
from mechunlearn.plots.template import darkened
from mechunlearn.plots.tokens import tokens

__all__ = [
    "comparison",
    "darkened",
    "figures",
    "forest",
    "frontier",
    "gcg",
    "lens",
    "lens_by_method",
    "letters",
    "matrices",
    "overlap",
    "perturbation",
    "projection",
    "pruning",
    "recovery",
    "relearning",
    "tokens",
    "units",
    "write",
]


def figures(report: Report, *, dark: bool = False) -> dict[str, go.Figure]:
    """Every figure that the report's attacks allow, by file name.

    Names are ``KIND`` for figures of the whole report, ``KIND-MODEL`` for those of one model.
    """
    drawn = {name: draw() for name, draw in _allowed(report)}
    return {name: darkened(fig) for name, fig in drawn.items()} if dark else drawn


def _allowed(report: Report) -> Iterator[tuple[str, Callable[[], go.Figure]]]:
    models = list(dict.fromkeys(row["unlearned"] for row in report.rows))
    if len(models) > 1:
        yield "comparison", partial(comparison, report)
    if models:
        yield "forest", partial(forest, report)
    if sum("lens" in report.details[name] for name in models) > 1:
        yield "lens_by_method", partial(lens_by_method, report)
    if models and "said" in report.details:
        yield "letters", partial(letters, report)
    for model in models:
        for kind in _kinds(report, model):
            yield f"{kind}-{model}", partial(OF_ONE[kind], report, model)


OF_ONE: dict[str, Callable[[Report, str], go.Figure]] = {
    "recovery": recovery,
    "overlap": overlap,
    "frontier": frontier,
    "lens": lens,
    "projection": projection,
    "pruning": pruning,
    "relearning": relearning,
    "gcg": gcg,
    "perturbation": perturbation,
}
"""Figures of one unlearned model, in the order in which they are shown."""


def _kinds(report: Report, model: str) -> list[str]:
    """Which of them the model's attacks allow."""
    detail = report.details[model]
    tried = detail["tried"]
    families = {attack.partition("_")[0] for attack in tried}
    allowed = {
        "recovery": True,
        "overlap": len(detail.get("union", {}).get("overlap", ())) > 1,
        "frontier": "cost" in detail,
        "lens": "lens" in detail,
        "projection": "projection" in detail,
        "pruning": "pruning" in families,
        "relearning": "relearning" in families,
        "gcg": "gcg" in tried,
        "perturbation": bool(set(FAMILIES) & set(tried)),
    }
    return [kind for kind in OF_ONE if allowed[kind]]


def write(
    report: Report,
    folder: Path,
    images: bool = False,
    *,
    kinds: Sequence[str] = (),
    dark: bool = False,
) -> list[Path]:
    """Write a report's figures as ``.json`` and ``.html``, and as ``.svg`` and ``.png`` if asked.

    Args:
        kinds: Which figures, by the part of the name before the model's; default: all.
        dark: For dark pages, into files that end in ``-dark``.

    Raises:
        ValueError: If the report has no figure of a kind.
        PrerequisiteError: If images are asked for and kaleido or Chrome is missing.
    """
    drawn = figures(report, dark=dark)
    have = dict.fromkeys(name.partition("-")[0] for name in drawn)
    if missing := [kind for kind in kinds if kind not in have]:
        raise ValueError(f"this report has no figure {missing[0]!r}; it has: {', '.join(have)}")
    chosen = {
        name + ("-dark" if dark else ""): fig
        for name, fig in drawn.items()
        if not kinds or name.partition("-")[0] in kinds
    }
    return write_figures(chosen, folder, images)
