"""Training: one loop for everything, with checkpoints, and weights that come back as they were."""

from mechunlearn.train.log import TrainLog, Watch
from mechunlearn.train.loop import fit
from mechunlearn.train.steps import (
    DivergedError,
    Draws,
    Fall,
    Loss,
    Optimizer,
    Rule,
    Share,
    shuffled_passes,
)
from mechunlearn.train.weights import restored, trained

__all__ = [
    "DivergedError",
    "Draws",
    "Fall",
    "Loss",
    "Optimizer",
    "Rule",
    "Share",
    "TrainLog",
    "Watch",
    "fit",
    "restored",
    "shuffled_passes",
    "trained",
]
