"""One attack on one unlearned model as a row of numbers."""

from mechunlearn.analysis.answers import Arms, values
from mechunlearn.analysis.records import Row, Tier
from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import best_of_k
from mechunlearn.attacks.grades import grade
from mechunlearn.audit.cells import Entry
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import AttackResult
from mechunlearn.registry import find
from mechunlearn.stats import mean_interval

REFERENCE_FLOPS = 1e11
"""Arithmetic per second of two ordinary CPU cores; turns counted FLOPs into a row's ``seconds``."""


def tier_of(entry: Entry) -> Tier:
    """What the recovery of knowledge from a model under test is net of."""
    return "C" if entry.control is None else "A"


def row_of(evidence: Evidence, model: str, attack: str, arms: Arms) -> Row:
    """One attack on one unlearned model, but for the adjusted p, which depends on all rows."""
    setup, result = evidence.setup, evidence.attack(model, attack)
    entry, entered = setup.entry(model), find("attack", attack)
    before = values(evidence.answers(model, "forget"))
    control = before if entry.control is None else values(evidence.answers(entry.control, "forget"))
    net = recovery(
        original=values(evidence.answers(setup.original.label, "forget")),
        unlearned=before,
        attacked=arms.attacked,
        control=control,
        attacked_control=arms.compared,
        seed=setup.plan.seed,
    )
    return Row(
        model=model,
        attack=attack,
        family=entered.family,
        variant=result.variant,
        n=len(before),
        value=short(arms.attacked.mean()),
        value_ci=short_interval(mean_interval(arms.attacked)),
        recovery=None if net.ratio is None else short(net.ratio),
        recovery_ci=None if net.ratio_ci is None else short_interval(net.ratio_ci),
        difference=short(net.difference),
        difference_ci=short_interval(net.difference_ci),
        gap=short(net.gap),
        gap_ci=short_interval(net.gap_ci),
        p=net.p_value,
        p_adjusted=1.0,
        detectable=short(net.detectable),
        tier=tier_of(entry),
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
    )


def _best_of_k(evidence: Evidence, model: str, result: AttackResult) -> float:
    """Whether the chosen variant gained more on the select fold than the best of as many would."""
    before = values(evidence.answers(model, "forget_select"))
    if result.decided_by is not None:
        before = before[list(result.decided_by)]
    tried = [values(variant.answers) for variant in result.tried]
    return best_of_k(tried, before, seed=evidence.setup.plan.seed)
