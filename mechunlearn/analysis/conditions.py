"""Under what conditions runs were made, and in which they differ."""

from collections.abc import Mapping, Sequence

import msgspec

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.words import ROLES, name
from mechunlearn.records import Plain


def differing(reports: Sequence[Report]) -> dict[str, tuple[str, ...]]:
    """Task, plan, versions, machine with its number of threads, and weights, where they differ.

    Returns:
        Condition -> one text a report, empty where a report has no such condition.
    """
    known = [conditions(report) for report in reports]
    names = dict.fromkeys(key for each in known for key in each)
    texts = {key: tuple(each.get(key, "") for each in known) for key in names}
    return {key: each for key, each in texts.items() if len(set(each)) > 1}


def conditions(report: Report) -> Mapping[str, str]:
    """What may make the numbers of two runs differ, besides the attacks."""
    card = report.runcard
    found = {
        "task": card.task.name,
        "scoring": card.task.scoring,
        "forget questions, confirm fold": str(card.task.n["forget, confirm"]),
    }
    found |= {
        f"plan: {name(key)}": _text(value)
        for key, value in card.settings.items()
        if key != "attacks"
    }
    found |= {f"version: {key}": value for key, value in card.versions.items()}
    found |= {f"machine: {k}": str(v) for k, v in msgspec.structs.asdict(card.machine).items()}
    for model in report.models:
        if (about := card.models.get(model.label)) is not None:
            found[f"weights: {ROLES.get(model.role, model.label)}"] = about.fingerprint
    return found


def _text(value: Plain) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
