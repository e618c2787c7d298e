"""An audit's numbers to an experiment tracker: wandb, or trackio, which has the same calls."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.errors import PrerequisiteError, unknown

TRACKERS = ("wandb", "trackio")
NUMBERS = ("accuracy", "recovery", "sham_accuracy", "control_accuracy", "original_accuracy",
           "retain_accuracy", "p_holm")  # fmt: skip
"""Of each attack on each model."""


def summary(report: Report) -> dict[str, float]:
    """``MODEL/SET`` and ``MODEL/ATTACK/NUMBER`` -> value, without what was not measured."""
    found = {
        f"{model}/{name}": values["accuracy"]
        for model, sets in report.baselines.items()
        for name, values in sets.items()
    }
    for row in report.rows:
        for key in NUMBERS:
            if row.get(key) is not None:
                found[f"{row['unlearned']}/{row['attack']}/{key}"] = row[key]
    return found


def track(report: Report, tracker: str, name: str) -> None:
    """Write a finished audit to a tracker, as one run of the project ``mechunlearn``.

    Raises:
        ValueError: For an unknown tracker.
        PrerequisiteError: If it is not installed.
    """
    check_tracker(tracker)
    module: Any = import_module(tracker)
    module.init(project="mechunlearn", name=name, config=report.runcard)
    module.log(summary(report))
    module.finish()


def check_tracker(tracker: str) -> None:
    """As ``track``, before anything is computed."""
    if tracker not in TRACKERS:
        raise unknown("tracker", tracker, TRACKERS)
    if find_spec(tracker) is None:
        raise PrerequisiteError(f"--track {tracker} needs it: pip install {tracker}")
