"""Accuracy while a model is unlearned: what is printed, and what ends a run or is warned of."""

from dataclasses import dataclass

from mechunlearn.bench import score
from mechunlearn.train import TrainLog
from mechunlearn.types import Fold, HookedModel, Task
from mechunlearn.unlearn import Method

COLLAPSED = 0.5
"""A retain accuracy that lost this share of its margin over chance has collapsed."""


@dataclass(slots=True)
class Guard:
    """Measures forget and retain accuracy on one fold, and ends a run that destroys the model.

    A retain accuracy may collapse for a while and come back (NPO's and circuit breakers' do); in
    the second half of the run, two measurements in a row end it.
    """

    model: HookedModel
    task: Task
    method: Method
    steps: int
    """Length of the run."""
    fold: Fold = "select"
    first: float | None = None
    """Retain accuracy before training."""
    fallen: int = 0
    """Measurements in a row at which it had collapsed."""

    def __call__(self, step: int) -> dict[str, float]:
        """Forget and retain accuracy now.

        Raises:
            ValueError: If the retain accuracy stays collapsed in the second half of the run.
        """
        found = {
            f"{role} accuracy": score(
                self.model,
                self.task.questions(role, self.fold),
                self.task.prompt,
                scoring=self.task.scoring,
            ).accuracy
            for role in ("forget", "retain")
        }
        now = found["retain accuracy"]
        self.first = now if self.first is None else self.first
        self.fallen = self.fallen + 1 if now < self._floor(self.first) else 0
        if self.fallen >= 2 and 2 * step >= self.steps:
            raise ValueError(
                f"retain accuracy collapsed from {self.first:.2f} to {now:.2f} by step {step}; "
                f"{self.method.gentler}"
            )
        return found

    def _floor(self, before: float) -> float:
        chance = sum(1 / len(q.choices) for q in self.task.retain) / len(self.task.retain)
        return before - COLLAPSED * max(0.0, before - chance)

    def warnings(self, log: TrainLog) -> list[str]:
        """What a finished run should make its user doubt."""
        if len(log.measured) < 2:
            return []
        first, last = log.measured[0], log.measured[-1]
        found = []
        before, after = first["forget accuracy"], last["forget accuracy"]
        knew = before > self.task.chance + 0.1
        if knew and before - after < 0.1 * (before - self.task.chance):
            found.append(
                f"nothing was forgotten: forget accuracy was {before:.2f} and is {after:.2f}; "
                f"raise {self.method.stronger}"
            )
        if last["retain accuracy"] < self._floor(first["retain accuracy"]):
            found.append(
                f"retain accuracy fell from {first['retain accuracy']:.2f} to "
                f"{last['retain accuracy']:.2f}; {self.method.gentler}"
            )
        return found
