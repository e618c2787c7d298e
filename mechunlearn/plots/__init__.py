"""Figures: pure functions from a report to plotly figures."""

from pathlib import Path

import plotly.graph_objects as go

from mechunlearn.errors import PrerequisiteError
from mechunlearn.plots.gcg import gcg
from mechunlearn.plots.lens import lens
from mechunlearn.plots.overlap import overlap
from mechunlearn.plots.perturbation import FAMILIES, perturbation
from mechunlearn.plots.projection import projection
from mechunlearn.plots.pruning import pruning
from mechunlearn.plots.recovery import recovery
from mechunlearn.plots.relearning import relearning
from mechunlearn.types import Report

__all__ = [
    "figures",
    "gcg",
    "lens",
    "overlap",
    "perturbation",
    "projection",
    "pruning",
    "recovery",
    "relearning",
    "write",
]


def figures(report: Report) -> dict[str, go.Figure]:
    """Every figure that the report's attacks allow, by file name."""
    found = {}
    for name in dict.fromkeys(row["unlearned"] for row in report.rows):
        detail = report.details[name]
        found[f"recovery-{name}"] = recovery(report, name)
        if len(detail.get("union", {}).get("overlap", ())) > 1:
            found[f"overlap-{name}"] = overlap(report, name)
        if "lens" in detail:
            found[f"lens-{name}"] = lens(report, name)
        if "projection" in detail:
            found[f"projection-{name}"] = projection(report, name)
        tried = detail["tried"]
        for kind, draw in (("pruning", pruning), ("relearning", relearning)):
            if any(attack.startswith(f"{kind}_") for attack in tried):
                found[f"{kind}-{name}"] = draw(report, name)
        if "gcg" in tried:
            found[f"gcg-{name}"] = gcg(report, name)
        if set(FAMILIES) & set(tried):
            found[f"perturbation-{name}"] = perturbation(report, name)
    return found


def write(report: Report, folder: Path, images: bool = False) -> list[Path]:
    """Write each figure as ``.json`` and ``.html``, and as ``.svg`` and ``.png`` if asked.

    Raises:
        PrerequisiteError: If images are asked for and kaleido or Chrome is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, fig in figures(report).items():
        path = folder / f"{name}.json"
        path.write_text(fig.to_json(pretty=True) + "\n", encoding="utf-8")
        fig.write_html(path.with_suffix(".html"), include_plotlyjs="directory", full_html=True)
        written += [path, path.with_suffix(".html")]
        for suffix in (".svg", ".png") if images else ():
            try:
                fig.write_image(path.with_suffix(suffix), width=760, scale=2)
            except (ValueError, RuntimeError, ImportError) as err:
                raise PrerequisiteError(
                    "images need kaleido and Chrome: pip install 'mechunlearn[export]' and, "
                    f"without a browser, plotly_get_chrome ({str(err).splitlines()[0]})"
                ) from err
            written.append(path.with_suffix(suffix))
    return written
