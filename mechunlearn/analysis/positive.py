"""What the attacks bring back of hiding that the audit planted itself."""

from collections.abc import Iterator

from mechunlearn.analysis.arms import arms_of
from mechunlearn.analysis.records import PositiveControl, Row
from mechunlearn.analysis.rows import rows_of
from mechunlearn.analysis.significance import counts, significant
from mechunlearn.audit.entries import Entry
from mechunlearn.audit.evidence import Evidence


def positive_controls(evidence: Evidence) -> tuple[PositiveControl, ...]:
    """Every planted model, once all attacks on all of them are finished; nothing before."""
    planted, n = evidence.setup.planted, len(evidence.setup.attacks)
    if any(len(evidence.complete_on(entry.label)) < n for entry in planted):
        return ()
    return tuple(_positive_controls(evidence))


def _positive_controls(evidence: Evidence) -> Iterator[PositiveControl]:
    for entry in evidence.setup.planted:
        attacks = evidence.complete_on(entry.label)
        arms = {attack: arms_of(evidence, entry.label, attack) for attack in attacks}
        rows = rows_of(evidence, entry.label, arms)
        # Asking in another form shows what is open, not that hidden knowledge is found.
        able = [row for row in rows if counts(row) and not row.only_asks]
        if able:
            yield _positive_control(entry, able, evidence.answers(entry.label, "forget").mean)


def _positive_control(entry: Entry, rows: list[Row], value: float) -> PositiveControl:
    assert entry.hiding is not None
    found = [row for row in rows if significant(row)]
    best = max(found or rows, key=lambda row: row.difference)
    questions = None
    if best.difference > 0:
        questions = int(best.n * max(1.0, best.detectable / best.difference) ** 2) + 1
    return PositiveControl(
        label=entry.label,
        hiding=entry.hiding,
        value=value,
        gap=best.gap,
        gap_ci=best.gap_ci,
        attack=best.attack,
        difference=best.difference,
        difference_ci=best.difference_ci,
        found=tuple(row.attack for row in found),
        questions=None if found else questions,
    )
