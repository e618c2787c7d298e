"""What several attacks on one model say together: union, overlap, price."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.contrasts import Before
from mechunlearn.analysis.records import Overlap, Row, Spent, Union
from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.significance import counts
from mechunlearn.analysis.tests import max_t, sums_by_source
from mechunlearn.audit.records import AttackResult
from mechunlearn.stats import GRADED, Values


def union(arms: Mapping[str, Arms], before: Before, best: Row, seed: int) -> Union:
    """What any attack answers, beside what any attack answers on the controls.

    Several attacks that guess answer more together than one, so the union over the controls (the
    never-knew model under each attack, else of the attacks' shams, or of their guesses, and what
    all attacks together gain on twin questions) is the union's chance line. What one attack brings
    back any of them brings back, so the union is never below the best attack. Without a never-knew
    model and twin questions it is not above it either: answers that an attack changes at random,
    and its sham does not, would add up to knowledge.

    Args:
        arms: By attack.
        best: The attack that brings back most.
    """
    anyone = np.max([arm.attacked for arm in arms.values()], axis=0)
    chance = _chance(list(arms.values()), before)
    if made_up := [arm.twins for arm in arms.values() if arm.twins is not None]:
        learned = before.unlearned + float(np.max(made_up, axis=0).mean())
        chance = max((chance, learned), key=lambda arm: float(arm.mean()))
    gained = anyone - chance
    if before.control is not None and before.unlearned.mean() >= before.control.mean():
        gained = gained - (before.unlearned - before.control)
    elif before.control is not None and chance.mean() < before.control.mean():
        gained = anyone - before.control
    net = recovery(
        net=gained,
        gap=before.original - before.unlearned,
        sources=before.sources,
        seed=seed,
    )
    known = before.control is not None or bool(made_up)
    above = known and net.difference >= best.difference
    lost = np.flatnonzero((before.original > GRADED) & ~(before.unlearned > GRADED))
    of_sets = Counter(
        tuple(name for name, arm in arms.items() if arm.attacked[i] > GRADED) for i in lost
    )
    ordered = sorted(of_sets.items(), key=lambda pair: (-pair[1], pair[0]))
    return Union(
        n_attacks=len(arms),
        value=float(anyone.mean()),
        control=float(chance.mean()),
        difference=net.difference if above else best.difference,
        difference_ci=net.difference_ci if above else best.difference_ci,
        recovery=net.ratio if above else best.recovery,
        recovery_ci=net.ratio_ci if above else best.recovery_ci,
        p=float(max_t(sums_by_source(gained[None], before.sources), seed).p[0])
        if above
        else best.p,
        n_lost=len(lost),
        overlap=tuple(Overlap(attacks=names, n=n) for names, n in ordered),
        never=tuple(int(i) for i in lost if anyone[i] <= GRADED),
    )


def _chance(arms: Sequence[Arms], before: Before) -> Values:
    """The union over the attacks of what they are compared with; the highest kind of it."""
    kinds = [[arm.compared(before.unlearned) for arm in arms]]
    if before.control is None:
        kinds += [[arm.sham for arm in arms], [arm.guessing for arm in arms]]
    return max((np.max(kind, axis=0) for kind in kinds), key=lambda arm: float(arm.mean()))


def spent(
    rows: Sequence[Row], results: Mapping[str, AttackResult], retain: float
) -> tuple[Spent, ...]:
    """The price of each attack, and which of them no other beats.

    On the frontier (``pareto``) is what brings something back where no attack brings back as much
    for no more arithmetic, forget tokens and utility. What cannot show that the model knew is not
    on it, and beats nothing.

    Args:
        rows: Of one unlearned model.
        results: By attack.
        retain: The unlearned model's value on the retain questions without any attack.
    """
    entries = [_spent(row, results[row.attack], retain) for row in rows]
    counted = [entry for row, entry in zip(rows, entries, strict=True) if counts(row)]
    return tuple(
        msgspec.structs.replace(entry, pareto=not any(_beats(other, entry) for other in counted))
        if counts(row) and row.difference_ci[0] > 0
        else entry
        for row, entry in zip(rows, entries, strict=True)
    )


def cheapest_half(entries: Sequence[Spent]) -> str | None:
    """The attack of least arithmetic that recovers half of the gap."""
    half = [e for e in entries if e.recovery is not None and e.recovery >= 0.5]
    return min(half, key=lambda e: e.flops).attack if half else None


def _spent(row: Row, result: AttackResult, retain: float) -> Spent:
    """An attack's price; what it was taught stands at the stage that is the chosen variant."""
    stage = next((s for s in result.stages if s.variant == result.variant), None)
    return Spent(
        attack=row.attack,
        pareto=False,
        difference=row.difference,
        recovery=row.recovery,
        samples=stage.samples if stage else 0,
        forget_tokens=stage.tokens if stage else 0,
        flops=row.flops,
        seconds=row.seconds,
        utility_loss=float(f"{retain - row.retain:.6g}"),
    )


def _beats(a: Spent, b: Spent) -> bool:
    prices = tuple((e.flops, e.forget_tokens, e.utility_loss) for e in (a, b))
    dearer = [x > y for x, y in zip(*prices, strict=True)]
    cheaper = [x < y for x, y in zip(*prices, strict=True)]
    no_worse = a.difference >= b.difference and not any(dearer)
    return no_worse and (a.difference > b.difference or any(cheaper))
