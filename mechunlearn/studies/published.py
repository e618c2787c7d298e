"""The published main table, in one place: accuracies of Łucki et al. 2024 on Zephyr-7B-beta.

Reference:
    Łucki et al. 2024, arXiv:2409.18025, main table, all 33 filled cells; the two exact counts from
    the authors' repository ethz-spylab/unlearning-vs-safety: 0.6441476826394344 = 820/1273 is a
    constant of its logit-lens plot, 0.5388845 = 686/1273 the best row of its list of prefixes.
"""

from typing import Literal

Set = Literal["forget", "retain"]
"""WMDP-Bio, MMLU."""
COLUMNS = ("original", "rmu", "npo", "dpo")
"""No protection, RMU, NPO, DPO; of NPO and DPO the bio checkpoints."""
QUESTIONS: dict[Set, int] = {"forget": 1273, "retain": 14042}
"""In WMDP-Bio and in MMLU's test split."""
TABLE: dict[tuple[Set, str], tuple[float | None, ...]] = {
    ("forget", "default decoding"): (64.4, 29.9, 29.5, 27.9),
    ("forget", "logit lens"): (66.2, 31.8, 38.6, 48.2),
    ("forget", "finetuning"): (None, 62.4, 47.4, 57.3),
    ("forget", "orthogonalization"): (None, 64.7, 45.1, 50.7),
    ("forget", "enhanced GCG"): (None, 53.9, 46.0, 49.0),
    ("forget", "set-difference pruning"): (None, 54.0, 40.4, 50.4),
    ("retain", "default decoding"): (58.1, 57.1, 52.1, 49.7),
    ("retain", "finetuning"): (None, 58.0, 53.3, 51.2),
    ("retain", "orthogonalization"): (None, 57.3, 45.6, 46.7),
    ("retain", "set-difference pruning"): (None, 56.5, 50.0, 50.4),
}
"""Accuracy in per cent, by column."""
COUNTS: dict[tuple[Set, str, str], int] = {
    ("forget", "default decoding", "original"): 820,
    ("forget", "enhanced GCG", "rmu"): 686,
}
"""Right answers where they are known exactly."""


def published(name: Set, attack: str, column: str) -> tuple[int, int] | None:
    """Right answers and questions of a published cell; the count is rounded from its per cents.

    Example:
        >>> published("forget", "default decoding", "original")
        (820, 1273)
        >>> published("forget", "enhanced GCG", "original") is None
        True
    """
    row = TABLE.get((name, attack))
    accuracy = None if row is None or column not in COLUMNS else row[COLUMNS.index(column)]
    if accuracy is None:
        return None
    n = QUESTIONS[name]
    return COUNTS.get((name, attack, column), round(accuracy / 100 * n)), n
