"""What an attack has to exceed before anything counts as brought back.

With a model that never knew (tier A):

    control    (attacked - unlearned) - (attacked control - control)
    sham       attacked - sham
    guessing   attacked - guessing level

and without one (tier C):

    unlearned  attacked - unlearned
    sham, guessing   as above

All of them have to be won: the p of an attack is the largest of its contrasts' (the
intersection-union test, Berger 1982, which needs no correction for their number). At tier C what is
brought back is the smallest of them; at tier A it is the difference in differences, which alone
estimates knowledge, and the others are hurdles. A model pushed below guessing that comes back to
guessing has gained nothing, so guessing is a hurdle with a control too.

The test of all attacks on one model together is ``max_t`` over all their contrasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.records import Against, Contrast
from mechunlearn.analysis.recovery import interval
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import MaxT, Sources, max_t, sums_by_source
from mechunlearn.stats import Values

Nets = Mapping[Against, Float[np.ndarray, " item"]]


@dataclass(frozen=True, slots=True)
class Before:
    """Answers without any attack, on the questions of the confirm fold."""

    original: Values
    unlearned: Values
    control: Values | None
    """Of the never-knew model, where there is one."""
    sources: Sources


def nets(arms: Arms, before: Before) -> Nets:
    """Net value of each answer in each contrast that has to be won; what is estimated is first."""
    # Under renamed letters the answers without an attack count renamed too, where that is more.
    gained = arms.attacked - (before.unlearned if arms.unlearned is None else arms.unlearned)
    others: Nets = {
        "sham": arms.attacked - arms.sham,
        "guessing": arms.attacked - arms.guessing,
    }
    if arms.control is None or before.control is None:
        return {"unlearned": gained, **others}
    control = before.control if arms.untreated_control is None else arms.untreated_control
    return {"control": gained - (arms.control - control), **others}


def contrasts_of(
    arms: Mapping[str, Arms], before: Before, seed: int
) -> tuple[dict[str, tuple[Contrast, ...]], MaxT]:
    """Every contrast of every attack on one model, and the test of all of them together.

    Args:
        arms: By attack.
    """
    columns = {attack: nets(arm, before) for attack, arm in arms.items()}
    flat = [net for of in columns.values() for net in of.values()]
    test = max_t(sums_by_source(np.array(flat), before.sources), seed)
    p = iter(zip(test.p.tolist(), test.p_adjusted.tolist(), strict=True))
    contrasts = {}
    for attack, of in columns.items():
        contrasts[attack] = tuple(
            _contrast(against, arms[attack].attacked, net, before.sources, next(p), seed)
            for against, net in of.items()
        )
    return contrasts, test


def _contrast(
    against: Against,
    attacked: Values,
    net: Values,
    sources: Sources,
    p: tuple[float, float],
    seed: int,
) -> Contrast:
    return Contrast(
        against=against,
        level=short(float(attacked.mean() - net.mean())),
        difference=short(net.mean()),
        difference_ci=short_interval(interval(net, sources, seed)),
        p=short(p[0]),
        p_adjusted=short(p[1]),
    )


def estimated(contrasts: Sequence[Contrast]) -> Contrast:
    """What an attack's difference is: against its control, else the smallest contrast."""
    if contrasts[0].against == "control":
        return contrasts[0]
    return min(contrasts, key=lambda c: c.difference)
