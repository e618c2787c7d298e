"""Accuracy while a model is unlearned: what is printed, and what ends a run or is warned of."""

from dataclasses import dataclass

from mechunlearn.bench import score
from mechunlearn.train import TrainLog
from mechunlearn.types import Fold, HookedModel, Task
from mechunlearn.unlearn import Method

COLLAPSED = 0.5
"""A retain accuracy that lost this share of its margin over chance has collapsed."""


@dataclass(frozen=True, slots=True)
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

    def __call__(self, step: int) -> dict[str, float]:
        """Forget and retain accuracy now."""
        return {
            f"{role} accuracy": score(
                self.model,
                self.task.questions(role, self.fold),
                self.task.prompt,
                scoring=self.task.scoring,
            ).accuracy
            for role in ("forget", "retain")
        }

    def check(self, log: TrainLog) -> None:
        """Judge the last measurements by the first one, the model before training.

        Raises:
            ValueError: If the retain accuracy stays collapsed in the second half of the run.
        """
        retain = [measured["retain accuracy"] for measured in log.measured]
        collapsed = [accuracy < self._floor(retain[0]) for accuracy in retain[-2:]]
        if all(collapsed) and 2 * log.steps >= self.steps:
            raise ValueError(
                f"retain accuracy collapsed from {retain[0]:.2f} to {retain[-1]:.2f} by step "
                f"{log.steps}; {self.method.gentler}"
            )

    def _floor(self, before: float) -> float:
        chance = self.task.chance_of(self.task.retain)
        return before - COLLAPSED * max(0.0, before - chance)

    def warnings(self, log: TrainLog) -> list[str]:
        """What a finished run should make its user doubt."""
        if len(log.measured) < 2:
            return []
        first, last = log.measured[0], log.measured[-1]
        messages = []
        before, after = first["forget accuracy"], last["forget accuracy"]
        knew = before > self.task.chance + 0.1
        if knew and before - after < 0.1 * (before - self.task.chance):
            messages.append(
                f"nothing was forgotten: forget accuracy was {before:.2f} and is {after:.2f}; "
                f"raise {self.method.stronger}"
            )
        if last["retain accuracy"] < self._floor(first["retain accuracy"]):
            messages.append(
                f"retain accuracy fell from {first['retain accuracy']:.2f} to "
                f"{last['retain accuracy']:.2f}; {self.method.gentler}"
            )
        return messages
