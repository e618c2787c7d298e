"""Relearning at many settings, raced: all for a few steps, the better half for twice as many.

The schedule of every run is as long as the run, so that a short run has fallen to its end too.

Reference:
    Successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943. That what relearning brings
    back depends on its settings: TamperBench, arXiv:2602.06911, which sweeps them for every attack.
    Differs: the last round is measured as any relearning is, and the choice is made there alone.
    Limits: a setting that is slow at first and best at the end is lost.
"""

import dataclasses
from collections.abc import Callable, Generator, Sequence

from mechunlearn.attacks.relearning_settings import LORA_RATE, RelearningConfig, Run
from mechunlearn.attacks.seen import Scored
from mechunlearn.cost.job import BACKWARD
from mechunlearn.train import Rule


def settings_of(config: RelearningConfig) -> list[Run]:
    """Whole runs of the first seed, one for each setting of a sweep."""
    sweep, steps = config.sweep, config.steps
    kinds: list[tuple[Rule, int, float]] = [
        ("adamw", rank, rate * (LORA_RATE if rank else 1.0))
        for rank in sweep.ranks
        for rate in config.rates
    ]
    kinds += [("sgd", 0, rate) for rate in sweep.sgd_rates]
    return [
        Run(rate, config.seeds[0], steps, schedule, rank, rule, steps)
        for rule, rank, rate in kinds
        for schedule in sweep.schedules
    ]


def rounds_of(config: RelearningConfig) -> list[tuple[int, int]]:
    """How many runs each round has, and their steps; the last round trains them whole."""
    n, halvings = len(settings_of(config)), config.sweep.halvings
    rounds = []
    for k in range(halvings + 1):
        rounds.append((n, max(1, config.steps >> (halvings - k))))
        n = -(-n // 2)
    return rounds


def race(
    config: RelearningConfig, finish: Callable[[Run], list[Run]]
) -> Generator[Sequence[Run], Sequence[Scored], None]:
    """Rounds of ever longer runs of the better half, and what was measured of the last ones.

    Args:
        finish: Measures a whole run; its variants.
    """
    left = settings_of(config)
    for count, steps in rounds_of(config)[:-1]:
        found = yield [dataclasses.replace(run, steps=steps, total=steps) for run in left]
        order = sorted(range(count), key=lambda i: -found[i].forget)
        left = [left[i] for i in sorted(order[: -(-count // 2)])]
    whole = [dataclasses.replace(run, seed=seed) for run in left for seed in config.seeds]
    yield [variant for run in whole for variant in finish(run)]


def race_cost(config: RelearningConfig) -> tuple[float, float]:
    """Question forwards of training in all rounds but the last, and runs of the last."""
    *short, (last, _) = rounds_of(config)
    steps = sum(count * steps for count, steps in short)
    return BACKWARD * steps * (config.batch + config.keep), float(last * len(config.seeds))
