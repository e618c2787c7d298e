"""How fast this machine is, from a few seconds of real forwards."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mechunlearn.hooks import metered
from mechunlearn.types import HookedModel

CALIBRATION = 3.0
"""Seconds of forwards that are timed."""
RUNS = (2, 20)
"""Fewest and most of them."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What this machine does with a model."""

    flops: float
    """Per second, while scoring."""
    per_question: float
    """FLOPs of one question."""
    device: str
    """Kind of device: ``cpu``, ``cuda``."""
    number: int
    """Bytes of a number in the model's weights."""
    further: float = 0.0
    """What else is asked of a question where its answer is reported, in times its scoring."""


def speed_of(
    model: HookedModel,
    ask: Callable[[], object],
    questions: int,
    further: Callable[[], object] | None = None,
) -> Speed:
    """Time real forwards.

    Args:
        ask: Asks the model some questions.
        questions: How many.
        further: Asks them what is reported beside; it is timed once.
    """
    ask()  # The first one is slower.
    start, runs = time.perf_counter(), 0
    fewest, most = RUNS
    with metered() as meter:
        while runs < fewest or (time.perf_counter() - start < CALIBRATION and runs < most):
            ask()
            runs += 1
    seconds = time.perf_counter() - start
    beside = 0.0
    if further is not None:
        start = time.perf_counter()
        further()
        beside = (time.perf_counter() - start) * runs / seconds
    return Speed(
        flops=meter.flops / seconds,
        per_question=meter.flops / (runs * questions),
        device=str(model.cfg.device).partition(":")[0],
        number=next(model.parameters()).element_size(),
        further=beside,
    )
