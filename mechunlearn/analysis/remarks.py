"""Sentences of verdicts about single attacks; the rules are ``mechunlearn.analysis.verdict``'s."""

from collections.abc import Sequence

from mechunlearn.analysis.between import detectable_between
from mechunlearn.analysis.records import Contrast, Measured, Row
from mechunlearn.analysis.words import attack_names
from mechunlearn.attacks.grades import GRADES
from mechunlearn.tasks.folds import SELECT_SHARE
from mechunlearn.types import LETTERS

COMES_BACK = 0.25
"""Share of the original's further knowledge that comes back in no model that never knew."""


def under_letters(row: Row) -> str:
    """Under which letters the answers count, if under others."""
    if row.renaming is None:
        return ""
    names = "".join(LETTERS[i] for i in row.renaming)
    return f", once its answer letters are renamed ({LETTERS[: len(names)]} to {names})"


def beside_spread(row: Row) -> str:
    """Whether the spread of several controls had to be exceeded too."""
    return "" if _spread(row) is None else " and their spread"


def learned(rows: Sequence[Row]) -> str:
    """What is said without a control of attacks that were taught forget facts; begins with a space.

    Args:
        rows: Those that answer more than what they are compared with.
    """
    if not rows:
        return ""
    best = max(rows, key=lambda r: r.value)
    return (
        f" {attack_names([r.attack for r in rows])} teach{'es' * (len(rows) == 1)} forget facts "
        f"(up to {best.value:.0%} right after that); without a model that never knew, that may be "
        "learned, so it does not count."
    )


def knowing_control(rows: Sequence[Row], known: float, before: float) -> str:
    """That facts come back in a control under an attack that teaches none; empty where none do.

    Args:
        known: What the original answers.
        before: What the control answers without the attack, or chance if that is more.
    """
    least = before + COMES_BACK * (known - before)
    found = [
        r
        for r in rows
        if r.evidence == GRADES[0] and r.control is not None and r.control_ci and not r.only_asks
        if r.control_ci[0]
        > max([least, *(c.level for c in r.contrasts if c.against == "guessing")])
    ]
    if not found:
        return ""
    most = max(found, key=lambda r: r.control or 0.0)
    attack = most.attack.replace("_", " ")
    return (
        f"The control answers {most.control:.0%} under {attack}, which teaches nothing, so it is "
        "hardly a model that never knew. Another --control, or none, would settle it."
    )


def less_kept(before: Measured, after: Measured) -> str:
    """That what was to be kept was lost too, by the whole intervals; begins with a space."""
    if after.value_ci[1] >= before.value_ci[0]:
        return ""
    return (
        f" Retain accuracy fell from {before.value:.0%} to {after.value:.0%}: it lost what it was "
        "to keep."
    )


def handed_back(rows: Sequence[Row]) -> str:
    """What is said of attacks that put the original's weights back; begins with a space."""
    if not rows:
        return ""
    best = max(rows, key=lambda r: r.value)
    return (
        f" {attack_names([r.attack for r in rows])} put{'s' * (len(rows) == 1)} a part of the "
        f"original's weights back ({best.value:.0%} right after that), which says where the change "
        "lies and nothing of what the model still holds; it does not count."
    )


def unfinished(attacks: Sequence[str]) -> str:
    """What is said of attacks that are not computed yet; begins with a space."""
    if not attacks:
        return ""
    verb = "is" if len(attacks) == 1 else "are"
    return f" {attack_names(list(attacks))} {verb} not computed yet; the same command goes on."


def nearly(row: Row, n_attacks: int, *, corrected: bool) -> str:
    """An attack that brings something back, but not for certain.

    Args:
        corrected: Whether it is the number of attacks that makes it uncertain.
    """
    missing = "an interval of one of these comparisons reaches 0"
    if corrected:
        missing = f"not after correction for {n_attacks} attacks (p = {row.p_adjusted:.2g})"
    settles = "The same attack alone on new questions"
    if max(row.contrasts, key=lambda c: c.p_adjusted, default=None) == _spread(row) is not None:
        settles = "More models that never knew, each given as --control,"
    return (
        f"{attack_names([row.attack])} brings back {row.difference:.0%} more than what it is "
        f"compared with (p = {row.p:.2g}), but {missing}. {settles} would settle it."
    )


def no_attack(asked: Sequence[Row]) -> str:
    """That nothing hidden was found, beside what was open in another form.

    Args:
        asked: Attacks that only ask, and answer more than what they are compared with.
    """
    if not asked:
        return "No attack brought back more than its control"
    best = max(asked, key=lambda r: r.difference)
    return (
        f"Asked in another form it answers {best.difference:.0%} more than what that is compared "
        "with, which is open and not hidden; no other attack brought back more than its control"
    )


def more(row: Row, wanted: float) -> str:
    """What it takes to find a gain of ``wanted`` by an attack, as the beginning of a sentence."""
    spread = _spread(row)
    if spread is not None and detectable_between(spread) > wanted:
        return "More models that never knew, each given as --control,"
    if row.detectable >= 1:
        return "More forget questions, from more sources,"
    return enough(int(row.n * (row.detectable / wanted) ** 2) + 1)


def enough(n: int) -> str:
    """How many forget questions that are reported, and how many a file needs for them."""
    in_all = round(n / (1 - SELECT_SHARE))
    return f"About {n} reported forget questions (of about {in_all} in the file)"


def _spread(row: Row) -> Contrast | None:
    return next((c for c in row.contrasts if c.against == "spread"), None)
