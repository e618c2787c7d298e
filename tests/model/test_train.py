"""The training loop: it learns what it is told, refuses what cannot work, and can be undone."""

import math
from collections.abc import Callable

import pytest
import torch

from mechunlearn.models import fingerprint
from mechunlearn.train import Optimizer, fit, restored
from mechunlearn.types import HookedModel


def test_fit_reaches_the_minimum_and_restores_flags() -> None:
    p = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    goal = torch.tensor([1.0, -2.0, 0.5])
    log = fit([p], lambda step: {"d": (p - goal).pow(2).sum()}, Optimizer(300, 0.05), label="x")
    assert (p - goal).abs().max() < 1e-2
    assert log.steps == 300
    assert log.terms["d"][-1] < 1e-3 < log.terms["d"][0]
    assert not p.requires_grad
    assert p.grad is None


def test_schedule() -> None:
    rates = Optimizer(10, 1.0, warmup=2, decay=0.5)
    assert [round(rates.rate(i), 2) for i in range(10)] == [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]


def test_refusals() -> None:
    p, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="no parameters"):
        fit([], lambda s: {}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match="1 parameter"):
        fit([p, unused], lambda s: {"a": p.sum()}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match="lower lr"):
        fit([p], lambda s: {"a": p.sum() * math.inf}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match="steps >= 1"):
        Optimizer(0, 1.0)


def test_restored_is_bit_equal_also_after_an_error(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    before = fingerprint(model)

    def break_it() -> None:
        with restored(model):
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(1)
            assert fingerprint(model) != before
            raise KeyError

    with pytest.raises(KeyError):
        break_it()
    assert fingerprint(model) == before
