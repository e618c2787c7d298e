"""How well a model's likelihood tells forget facts from facts that were made up, as AUC."""

import numpy as np
from msgspec import UnsetType

from mechunlearn.analysis.answers import questions_of, sources_of
from mechunlearn.analysis.records import MemberScore
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.audit.entries import Entry
from mechunlearn.audit.evidence import Evidence
from mechunlearn.stats import auc


def membership(evidence: Evidence, entry: Entry) -> tuple[MemberScore, ...]:
    """Every score of one model; of others than the original also the loss beyond the original's.

    Empty where the task has no twin questions, or the baseline is of an earlier version.
    """
    original = evidence.setup.original
    own = evidence.baseline(entry.label).membership
    before = evidence.baseline(original.label).membership
    if isinstance(own, UnsetType):
        return ()
    pairs = {
        name: (np.array(own.members[name]), np.array(own.others[name])) for name in own.members
    }
    if entry.label != original.label and not isinstance(before, UnsetType):
        members, others = pairs["loss"]
        pairs["reference"] = (
            members - np.array(before.members["loss"]),
            others - np.array(before.others["loss"]),
        )
    task = evidence.setup.task
    sources = sources_of(questions_of(task, "forget")), sources_of(task.twins)
    found = {name: auc(*of, *sources) for name, of in pairs.items()}
    return tuple(
        MemberScore(score=name, auc=short(value), auc_ci=short_interval(ci))
        for name, (value, ci) in found.items()
    )
