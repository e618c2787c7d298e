"""One attack on one unlearned model as a row of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from mechunlearn.analysis.answers import deciding, measured, questions_of, sources_of, values
from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.between import detectable_between
from mechunlearn.analysis.contrasts import Before, contrasts_of, estimated, nets
from mechunlearn.analysis.power import Planted, detectable
from mechunlearn.analysis.records import Contrast, Row, Tier
from mechunlearn.analysis.recovery import Recovery, recovery
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import Sources, best_of_k
from mechunlearn.attacks.grades import grade
from mechunlearn.audit.cells import Setup
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import AttackResult
from mechunlearn.registry import find

REFERENCE_FLOPS = 1e11
"""Arithmetic per second of two ordinary CPU cores; turns counted FLOPs into a row's ``seconds``."""


def tier_of(setup: Setup, model: str) -> Tier:
    """What the recovery of knowledge from a model under test is net of."""
    if setup.entry(model).control is not None:
        return "A"
    return "B" if setup.twins(model) else "C"


def rows_of(evidence: Evidence, model: str, arms: Mapping[str, Arms]) -> tuple[Row, ...]:
    """Every attack on one unlearned model; the family of the test is these attacks.

    Args:
        arms: By attack, of the attacks that are complete.
    """
    if not arms:
        return ()
    before = before_of(evidence, model)
    kept = sources_of(questions_of(evidence.setup.task, "retain"))
    contrasts, test = contrasts_of(arms, before, evidence.setup.plan.seed)
    rows: list[Row] = []
    for attack, arm in arms.items():
        start = _asked(before, attack, arm)
        row = _row(evidence, model, attack, arm, start, contrasts[attack], test.critical)
        rows.append(_with_intervals(row, arm, before.sources, kept))
    return tuple(rows)


def _asked(before: Before, attack: str, arms: Arms) -> Before:
    """What can come back in another form is what the original answers in that form."""
    return replace(before, original=arms.original) if find("attack", attack).only_asks else before


def before_of(evidence: Evidence, model: str) -> Before:
    """The answers that the attacks on a model started from."""
    setup = evidence.setup
    controls = setup.entry(model).controls
    known = tuple(values(evidence.answers(control, "forget")) for control in controls)
    return Before(
        original=values(evidence.answers(setup.original.label, "forget")),
        unlearned=values(evidence.answers(model, "forget")),
        control=np.mean(known, axis=0) if known else None,
        sources=sources_of(questions_of(setup.task, "forget")),
        controls=known,
        twin_sources=sources_of(twins) if (twins := setup.twins(model)) else None,
    )


def _row(
    evidence: Evidence,
    model: str,
    attack: str,
    arms: Arms,
    before: Before,
    contrasts: tuple[Contrast, ...],
    critical: float,
) -> Row:
    setup, result = evidence.setup, evidence.attack(model, attack)
    entered, seed = find("attack", attack), setup.plan.seed
    net = _recovery(arms, before, contrasts, seed)
    return Row(
        model=model,
        attack=attack,
        family=entered.family,
        variant=result.variant,
        n=len(before.unlearned),
        value=short(arms.attacked.mean()),
        value_ci=measured(arms.attacked, before.sources).value_ci,
        recovery=None if net.ratio is None else short(net.ratio),
        recovery_ci=None if net.ratio_ci is None else short_interval(net.ratio_ci),
        difference=short(net.difference),
        difference_ci=short_interval(net.difference_ci),
        gap=short(net.gap),
        gap_ci=short_interval(net.gap_ci),
        p=max(c.p for c in contrasts),
        p_adjusted=max(c.p_adjusted for c in contrasts),
        detectable=short(_detectable(arms, before, contrasts, critical, seed)),
        tier=tier_of(setup, model),
        sham=short(arms.sham.mean()),
        control=None if arms.control is None else short(arms.control.mean()),
        original=short(arms.original.mean()),
        retain=short(arms.retain.mean()),
        within_limit=result.within_limit,
        flops=result.flops,
        seconds=short(result.flops / REFERENCE_FLOPS),
        evidence=grade(entered),
        n_variants=len(result.tried),
        p_best_of_k=short(_best_of_k(evidence, model, result)),
        only_asks=entered.only_asks,
        renaming=arms.renaming,
        contrasts=contrasts,
        n_controls=len(before.controls),
    )


def _with_intervals(row: Row, arms: Arms, asked: Sources, kept: Sources) -> Row:
    """The row with the intervals of what stands beside its value."""
    control = arms.control
    return msgspec.structs.replace(
        row,
        sham_ci=measured(arms.sham, asked).value_ci,
        control_ci=None if control is None else measured(control, asked).value_ci,
        original_ci=measured(arms.original, asked).value_ci,
        retain_ci=measured(arms.retain, kept).value_ci,
    )


def _detectable(
    arms: Arms, before: Before, contrasts: Sequence[Contrast], critical: float, seed: int
) -> float:
    """What this audit finds; never less than what never-knew models differ by."""
    least = max((detectable_between(c) for c in contrasts if c.against == "spread"), default=0.0)
    return max(least, detectable(_planted(arms, before, contrasts), critical, seed))


def _recovery(arms: Arms, before: Before, contrasts: Sequence[Contrast], seed: int) -> Recovery:
    return recovery(
        net=nets(arms, before)[estimated(contrasts).against],
        gap=before.original - before.unlearned,
        sources=before.pooled,
        seed=seed,
    )


def _planted(arms: Arms, before: Before, contrasts: Sequence[Contrast]) -> Planted:
    """The attack's answers without an effect; where it has one, its sham's in their place."""
    if all(c.difference_ci[0] > 0 for c in contrasts):
        arms = replace(arms, attacked=arms.sham)
    gains = np.maximum(before.original - arms.attacked, 0)
    return Planted.of(list(nets(arms, before).values()), gains, before.pooled)


def _best_of_k(evidence: Evidence, model: str, result: AttackResult) -> float:
    """Whether the chosen variant gained more on the select fold than the best of as many would.

    1 where none was tried by this measure.
    """
    if not result.tried:
        return 1.0
    before = values(evidence.answers(model, "forget_select"))
    if result.decided_by is not None:
        before = before[list(result.decided_by)]
    tried = [values(variant.answers) for variant in result.tried]
    sources = sources_of(deciding(evidence.setup.task, result))
    return best_of_k(tried, before, sources, seed=evidence.setup.plan.seed)
