"""An audit's numbers to an experiment tracker: wandb, or trackio, which has the same calls."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mechunlearn.analysis.columns import COLUMNS
from mechunlearn.analysis.report import Report
from mechunlearn.errors import PrerequisiteError, unknown
from mechunlearn.records import plain

TRACKERS = ("wandb", "trackio")


def summary(report: Report) -> dict[str, float]:
    """``MODEL/SET`` and ``MODEL/ATTACK/COLUMN`` -> value, without what was not measured."""
    found = {
        f"{model.label}/{name}": measured.value
        for model in report.models
        for name, measured in model.sets.items()
    }
    for row in report.rows:
        for column in COLUMNS:
            if (value := column.value(row)) is not None:
                found[f"{row.model}/{row.attack}/{column.key}"] = value
    return found


def track(report: Report, tracker: str, name: str) -> None:
    """Write a finished audit to a tracker, as one run of the project ``mechunlearn``.

    Raises:
        ValueError: For an unknown tracker.
        PrerequisiteError: If it is not installed.
    """
    check_tracker(tracker)
    module: Any = import_module(tracker)
    module.init(project="mechunlearn", name=name, config=plain(report.runcard))
    module.log(summary(report))
    module.finish()


def check_tracker(tracker: str) -> None:
    """As ``track``, before anything is computed."""
    if tracker not in TRACKERS:
        raise unknown("tracker", tracker, TRACKERS)
    if find_spec(tracker) is None:
        raise PrerequisiteError(f"--track {tracker} needs it: pip install {tracker}")
