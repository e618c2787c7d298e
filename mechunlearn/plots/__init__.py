"""Figures: pure functions from a report, or from what an attack found, to plotly figures.

A new one is a file with a ``Figure`` in it and a line in the registry.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from mechunlearn.analysis.report import Report
from mechunlearn.plots.figure import Drawn, Figure, attacked
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.recovery import recovery
from mechunlearn.plots.template import darkened
from mechunlearn.registry import find, names

__all__ = ["Drawn", "Figure", "darkened", "figures", "recovery", "write"]


def figures(report: Report, *, dark: bool = False) -> list[Drawn]:
    """Every figure that a report has data for: of the whole report, then of each unlearned model.

    Within these they stand in the registry's order.
    """
    drawn = [kind.of(report, model) for kind, model in _allowed(report)]
    return [dataclasses.replace(d, figure=darkened(d.figure)) for d in drawn] if dark else drawn


def _allowed(report: Report) -> Iterator[tuple[Figure, str]]:
    if not report.rows:
        return
    kinds: list[Figure] = [find("figure", name) for name in names("figure")]
    for kind in kinds:
        if not kind.per_model and kind.allowed(report):
            yield kind, ""
    for model in attacked(report):
        for kind in kinds:
            if kind.per_model and kind.allowed(report, model):
                yield kind, model


def write(
    report: Report,
    folder: Path,
    images: bool = False,
    *,
    kinds: Sequence[str] = (),
    dark: bool = False,
    replace: bool = True,
) -> list[Path]:
    """Write a report's figures as ``.json`` and ``.html``, and as ``.svg`` and ``.png`` if asked.

    Args:
        kinds: Which figures; default: all.
        dark: For dark pages, into files that end in ``-dark``.
        replace: Whether files that exist are written over.

    Raises:
        FileExistsError: If one exists and is not to be replaced; nothing is written then.
        ValueError: If the report has no figure of a kind.
        PrerequisiteError: If images are asked for and kaleido or Chrome is missing.
    """
    allowed = list(_allowed(report))
    have = dict.fromkeys(kind.kind for kind, _ in allowed)
    if missing := [kind for kind in kinds if kind not in have]:
        raise ValueError(f"this report has no figure {missing[0]!r}; it has: {', '.join(have)}")
    drawn = [kind.of(report, model) for kind, model in allowed if not kinds or kind.kind in kinds]
    chosen = {
        d.key + ("-dark" if dark else ""): darkened(d.figure) if dark else d.figure for d in drawn
    }
    return write_figures(chosen, folder, images, replace=replace)
