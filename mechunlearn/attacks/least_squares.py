"""A linear read-out, and the least squares that fit it to states and their answers."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Scores of tokens, linear in a state."""

    weight: Float[Tensor, "answer d_model"]
    mean: Float[Tensor, " d_model"]
    bias: Float[Tensor, " answer"]
    """The scores at the mean."""
    tokens: Int[Tensor, " answer"]

    def scores(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row answer"]:
        """In the states' type."""
        centred = states - self.mean.to(states)
        return centred @ self.weight.to(states).T + self.bias.to(states)

    def spread(self, states: Float[Tensor, "row d_model"]) -> float:
        """How far the scores of states are from their mean, on average."""
        return float((self.scores(states) - self.bias.to(states)).norm(dim=1).mean())

    def scaled(self, factor: float) -> "Probe":
        """The same, with scores that differ by ``factor`` times as much."""
        return Probe(factor * self.weight, self.mean, self.bias, self.tokens)


def fitted(
    states: Float[Tensor, "read d_model"], answers: Int[Tensor, " read"], ridge: float
) -> Probe:
    """Least squares onto which answer it is; solved among facts or features, whichever are fewer.

    Raises:
        ValueError: If there are no facts.
    """
    if not len(states):
        raise ValueError("a probe is trained on facts, and there are none")
    tokens, which = answers.unique(return_inverse=True)
    target = torch.nn.functional.one_hot(which).to(states)
    mean, bias = states.mean(dim=0), target.mean(dim=0)
    scale = states.std(dim=0, correction=0).clamp_min(1e-9)
    x, y, n = (states - mean) / scale, target - bias, len(states)
    if n <= x.shape[1]:
        gram = x @ x.T + ridge * n * torch.eye(n).to(x)
        weight = (x.T @ torch.linalg.solve(gram, y)).T
    else:
        gram = x.T @ x + ridge * n * torch.eye(x.shape[1]).to(x)
        weight = torch.linalg.solve(gram, x.T @ y).T
    return Probe((weight / scale).float(), mean.float(), bias.float(), tokens)
