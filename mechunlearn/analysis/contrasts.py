"""What an attack has to exceed before anything counts as brought back.

With a model that never knew (tier A):

    control    (attacked - unlearned) - (attacked control - control),
               or attacked - control, attacked or not, where unlearning went below it
    unlearned  attacked - unlearned
    sham       attacked - sham
    guessing   attacked - guessing level

and without one the last three (tier C), and with questions that nobody can know (tier B)

    twins      mean[attacked - unlearned] - mean[attacked twins - twins]

All of them have to be won: the p of an attack is the largest of its contrasts' (the intersection-
union test, Berger 1982, which needs no correction for their number). At tiers B and C what is
brought back is the smallest of them; at tier A it is the difference in differences, which alone
estimates knowledge, and the others are hurdles. A model pushed below guessing that comes back to
guessing has gained nothing, so guessing is a hurdle with a control too; and an attack that only
makes the control worse has brought nothing back. A model that unlearning pushed below what
never-knew models answer (of open answers they get the form right, and common facts) has to exceed
them, attacked or not: what lifts it to their level has brought back the form, and no fact.

With several never-knew models the control is their mean, and what one of them may differ from the
next has to be exceeded too (``mechunlearn.analysis.between``).

The test of all attacks on one model together is ``max_t`` over all their contrasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.between import between_controls, gains_of, spread_of
from mechunlearn.analysis.records import Against, Contrast
from mechunlearn.analysis.recovery import interval
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import MaxT, Sources, max_t, sums_by_source
from mechunlearn.stats import Values

Nets = Mapping[Against, Values]
"""By contrast, per question; at tier B per twin question behind them."""


@dataclass(frozen=True, slots=True)
class Before:
    """Answers without any attack, on the questions of the confirm fold."""

    original: Values
    unlearned: Values
    control: Values | None
    """Of the never-knew model, where there is one."""
    sources: Sources
    controls: tuple[Values, ...] = ()
    """Of every never-knew model; ``control`` is their mean."""
    twin_sources: Int[np.ndarray, " twin"] | None = None
    """Of the questions that nobody can know, where there are such."""

    @property
    def pooled(self) -> Int[np.ndarray, " all"]:
        """Sources of the questions, and after them those of the twin questions."""
        if self.twin_sources is None:
            return self.sources
        return np.concatenate([self.sources, self.twin_sources + self.sources.max() + 1])


def nets(arms: Arms, before: Before) -> Nets:
    """Net value of each answer in each contrast that has to be won; what is estimated is first."""
    # Under renamed letters the answers without an attack count renamed too, where that is more.
    gained = arms.attacked - (before.unlearned if arms.unlearned is None else arms.unlearned)
    others: Nets = {
        "unlearned": gained,
        "sham": arms.attacked - arms.sham,
        "guessing": arms.attacked - arms.guessing,
    }
    if arms.control is None or before.control is None:
        return others if arms.twins is None else _beside_twins(others, gained, arms.twins)
    renamed = arms.untreated_controls
    control = np.mean(renamed, axis=0) if renamed else before.control
    net = gained - (arms.control - control)
    if (arms.attacked - gained).mean() < control.mean():
        floor = max((arms.control, control), key=lambda arm: float(arm.mean()))
        net = arms.attacked - floor
    return {"control": net, **others}


def _beside_twins(found: Nets, gained: Values, twins: Values) -> Nets:
    """The nets of facts and twin questions: what facts gain and twins do not is one more.

    The two groups are not paired. Their difference of means is a sum over all sources as well,

        n (mean[gained] - mean[twins]) = sum (gained - c) + n/m sum (c - twins),

    for any c; with the mean of both groups as c all terms have mean 0 where nothing is known, so
    that the signs of sources can be flipped as everywhere. In the other nets twins are zeros.
    """
    n, m = len(gained), len(twins)
    c = (gained.sum() + twins.sum()) / (n + m)
    none = np.zeros(m)
    both: Nets = {against: np.concatenate([net, none]) for against, net in found.items()}
    return {**both, "twins": np.concatenate([gained - c, (c - twins) * n / m])}


def contrasts_of(
    arms: Mapping[str, Arms], before: Before, seed: int
) -> tuple[dict[str, tuple[Contrast, ...]], MaxT]:
    """Every contrast of every attack on one model, and the test of all of them together.

    Args:
        arms: By attack.
    """
    columns = {attack: nets(arm, before) for attack, arm in arms.items()}
    flat = [net for of in columns.values() for net in of.values()]
    test = max_t(sums_by_source(np.array(flat), before.pooled), seed)
    p = iter(zip(test.p.tolist(), test.p_adjusted.tolist(), strict=True))
    contrasts = {}
    for attack, of in columns.items():
        arm = arms[attack]
        contrasts[attack] = tuple(
            _contrast(against, arm.attacked, net, before.pooled, next(p), seed)
            for against, net in of.items()
        )
    taught = {
        attack: gains
        for attack, arm in arms.items()
        if (gains := gains_of(arm, arm.untreated_controls or before.controls)) is not None
    }
    spread = spread_of(list(taught.values()))
    for attack, gains in taught.items():
        arm = arms[attack]
        own = before.unlearned if arm.unlearned is None else arm.unlearned
        start = own, arm.untreated_controls or before.controls
        contrasts[attack] += (
            between_controls(arm, gains, start, before.sources, spread, len(arms)),
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
    n = len(attacked)
    difference = net.sum() / n if n < len(net) else net.mean()
    return Contrast(
        against=against,
        level=short(float(attacked.mean() - difference)),
        difference=short(difference),
        difference_ci=short_interval(interval(net, sources, seed, n)),
        p=short(p[0]),
        p_adjusted=short(p[1]),
    )


def estimated(contrasts: Sequence[Contrast]) -> Contrast:
    """What an attack's difference is: against its control, else the smallest contrast."""
    if contrasts[0].against == "control":
        return contrasts[0]
    return min(contrasts, key=lambda c: c.difference)
