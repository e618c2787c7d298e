"""Training: one loop for everything, with checkpoints, and weights that come back as they were."""

from mechunlearn.train.log import TrainLog, Watch
from mechunlearn.train.loop import fit
from mechunlearn.train.steps import Draws, Loss, Optimizer, Share, shuffled_passes
from mechunlearn.train.weights import restored, trained

__all__ = [
    "Draws",
    "Loss",
    "Optimizer",
    "Share",
    "TrainLog",
    "Watch",
    "fit",
    "restored",
    "shuffled_passes",
    "trained",
]
