"""What one would tell a colleague about an unlearned model, in three sentences."""

from collections.abc import Sequence

from mechunlearn.analysis.power import weakest
from mechunlearn.analysis.records import Category, Findings, Model, Row, Verdict
from mechunlearn.analysis.remarks import unfinished
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import able, deciding, hits
from mechunlearn.analysis.verdict import open_share
from mechunlearn.analysis.words import control_words, name

HIDDEN: dict[Category, str] = {
    "hidden, shallow": "is hidden, not gone, and not deep",
    "hidden at the output": "is hidden, not gone: it can be read inside the model",
    "hidden, sparse": "is hidden, not gone: a small part of the weights holds it down",
    "hidden, deep": "is hidden, not gone, but deep: only training brings it back",
}


NOT_MEANT: dict[str, str] = {
    "hidden": "that the model tells it to anybody who asks: it takes what the attack does",
    "no evidence": "that the knowledge is gone: another attack, or more questions, may find it",
    "intact": "that the method cannot work: it speaks of these weights",
    "openly answered": "that the method cannot work: it speaks of these weights",
    "partly open": "that the rest is gone",
    "inconclusive": "that the knowledge is gone, or that it is there",
    "not judged": "anything of what the model knows",
}
"""By the beginning of a verdict's category."""


def not_meant(report: Report, label: str) -> str:
    """What somebody might take a verdict for, and should not."""
    verdict, task = report.model(label).verdict, report.runcard.task
    category = "" if verdict is None else verdict.category
    text = next((t for start, t in NOT_MEANT.items() if category.startswith(start)), "")
    n = report.original.sets["forget"].n
    asked = f"It speaks of {task.name} as it was asked here (n = {n}), and of no other knowledge."
    return f"It does not mean {text}. {asked}" if text else asked


def sentences(report: Report, label: str) -> tuple[str, ...]:
    """What happened to a model, what that means, and what the statement rests on.

    Empty where it has no verdict.
    """
    model = report.model(label)
    if model.verdict is None:
        return ()
    means = _means(model.verdict, report.rows_of(label), report.findings_of(label))
    left = unfinished([attack for of, attack in report.not_computed if of == label])
    rests = _rests(report, model.verdict, label) + ("" if left in means else left)
    return _happened(report, model), means, rests


def _happened(report: Report, model: Model) -> str:
    before, after = report.original.sets["forget"], model.sets["forget"]
    kept_before, kept = report.original.sets["retain"], model.sets["retain"]
    return (
        f"Before unlearning, {before.value:.0%} of {after.n} forget questions were answered right, "
        f"now {after.value:.0%} (guessing: {report.runcard.task.chance:.0%}); of the questions to "
        f"keep, {kept_before.value:.0%} before and {kept.value:.0%} now."
    )


def _means(verdict: Verdict, rows: Sequence[Row], findings: Findings) -> str:
    category = verdict.lost or verdict.category
    start = f"{open_share(rows, findings)[1]}; the rest" if verdict.lost else "What was lost"
    best = deciding(rows)
    if category in HIDDEN and best is not None:
        return f"{start} {HIDDEN[category]}; {_brought_back(best)}."
    if category == "no evidence":
        limit = weakest(able(rows) or rows).detectable
        return (
            f"{start} did not come back under any attack, which is no proof that it is gone: only "
            f"a gain of {100 * limit:.0f} points or more would be found in four of five audits."
        )
    return _rule(verdict)


def _brought_back(row: Row) -> str:
    if row.control is None:
        stays = f"the hardest of its controls is at {row.compared:.0%}"
    else:
        who = {"A": "a model that never knew"}.get(row.tier, "its control")
        stays = f"{who} gets {row.control:.0%} right under the same attack"
    if row.recovery is None or row.recovery_ci is None:
        share = f"{100 * row.difference:.0f} points of accuracy"
    else:
        low, high = row.recovery_ci
        share = f"{row.recovery:.0%} of it [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{name(row.attack)} brings back {share} ({row.value:.0%} right; {stays})"


def _rule(verdict: Verdict) -> str:
    """The verdict's own words, without the numbers in front of them."""
    _, _, rest = verdict.text.partition("). ")
    return rest or verdict.text


def _rests(report: Report, verdict: Verdict, label: str) -> str:
    rows = report.rows_of(label)
    tried, found, control = able(rows), hits(rows), report.control_of(label)
    n_controls = max((row.n_controls for row in rows), default=0) or 1
    against = control_words(verdict.tier, control.role if control else None, n_controls)
    if tried:
        which = "attacks" if len(tried) == len(rows) else "attacks that could show it"
        brought = f"{len(found) or 'None'} of {len(tried)} {which} brought back more"
        if len(tried) == 1:
            only = which.replace("attacks", "attack")
            brought = f"The one {only} brought back {'more' if found else 'no more'}"
        return (
            f"{brought} than {against} (control tier {verdict.tier}); other attacks, and other "
            "questions, may find more."
        )
    what = "No attack that could show hidden knowledge is complete"
    if not any(of == label for of, _ in report.not_computed):
        what = "None of these attacks could show hidden knowledge"
    return f"{what}: it would have to bring back more than {against} (control tier {verdict.tier})."
