"""Quantisation: weights on a grid, back bit for bit; small unlearning is rounded away."""

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks import quantization as file
from mechunlearn.attacks.quantization import (
    Precision,
    Quantization,
    QuantizationConfig,
    matrices,
    quantize,
    rounded,
)
from mechunlearn.audit.select import Deciding, Measured, choose
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.models import fingerprint, load
from mechunlearn.types import Change, HookedModel, Task


def test_rounding_is_to_the_nearest_step_of_each_row() -> None:
    weight = torch.tensor([[0.8, 0.29, -0.31, 0.0], [8.0, 2.9, -3.1, 0.9]])
    # Two bits: the step is half of the largest weight.
    expected = torch.tensor([[0.8, 0.4, -0.4, 0.0], [8.0, 4.0, -4.0, 0.0]])
    assert torch.allclose(rounded(weight, bits=2), expected)
    assert torch.allclose(rounded(weight, bits=2, group=2)[0], torch.tensor([0.8, 0.4, -0.31, 0.0]))
    assert torch.equal(rounded(torch.zeros(2, 4), bits=4), torch.zeros(2, 4))


def test_rounding_twice_is_rounding_once(any_tiny: HookedModel) -> None:
    for weight, _ in matrices(any_tiny):
        once = rounded(weight.detach(), bits=4)
        assert torch.allclose(rounded(once, bits=4), once, atol=1e-6)


def test_weights_change_and_come_back(any_tiny: HookedModel) -> None:
    before, tokens = fingerprint(any_tiny), torch.tensor([[5, 6, 7, 8]])
    logits = any_tiny(tokens)

    def moved(bits: int) -> float:
        with quantize(bits).on(any_tiny):
            return float((any_tiny(tokens) - logits).abs().max())

    assert moved(16) < 0.05 * moved(4)
    assert fingerprint(any_tiny) == before
    assert torch.equal(any_tiny(tokens), logits)


def test_rows_of_the_sham_have_the_same_errors_elsewhere(any_tiny: HookedModel) -> None:
    weight = matrices(any_tiny)[0][0]
    before = weight.detach().clone()
    with quantize(4).on(any_tiny):
        errors = (weight - before).flatten().sort().values
    with quantize(4, shuffle=0).on(any_tiny):
        shuffled = weight - before
    assert torch.allclose(shuffled.flatten().sort().values, errors, atol=1e-6)
    with quantize(4).on(any_tiny):
        assert not torch.allclose(shuffled, weight - before, atol=1e-4)


@pytest.mark.long
def test_unlearning_smaller_than_half_a_step_is_rounded_away(
    organism: HookedModel, task: Task
) -> None:
    """Weights on a grid, each moved by less than half a step against the forget answers."""
    bits = 5
    with quantize(bits).on(organism), torch.no_grad():
        held = [w.detach().clone() for w, _ in matrices(organism)]
    hidden = load("organism:original")
    _unlearn_within(hidden, task, held, bits)
    attack = Quantization()
    search = attack.search(hidden, Seen.of(task, attack), None, QuantizationConfig(bits=(8, bits)))
    measured = Measured(Deciding.of(task, "quantization", frozenset()))
    chosen = choose(hidden, search, measured, retain_before=1.0, limit=0.05).variant
    assert chosen == Precision(bits, 0)
    reported = task.questions("forget", "confirm")

    def right(change: Change) -> float:
        return score(hidden, reported, task.prompt, change=change).accuracy

    unlearned = score(hidden, reported, task.prompt).accuracy
    sham = search.sham(chosen, 0)
    assert unlearned < 0.5
    assert right(sham) < unlearned + 0.15
    assert right(search.change(chosen)) > unlearned + 0.4


def _unlearn_within(model: HookedModel, task: Task, held: list[torch.Tensor], bits: int) -> None:
    """Ascend the forget answers' loss by sign, weights staying near the grid points ``held``."""
    weights = matrices(model)
    rows = example_rows(model, task.examples("forget"), "answer", 128)[::4]
    kept = example_rows(model, task.examples("retain"), "answer", 128)[::4]
    with torch.no_grad():
        for (w, _), point in zip(weights, held, strict=True):
            w.copy_(point)
    parameters = [w for w, _ in weights]
    for p in model.parameters():
        p.requires_grad_(any(p is w for w in parameters))
    for step in range(12):
        picked = slice(step % 6, None, 6)
        forget, keep = (log_likelihoods(model, r[picked]).mean() for r in (rows, kept))
        gradients = torch.autograd.grad(forget - keep, parameters)
        with torch.no_grad():
            for (w, turned), point, g in zip(weights, held, gradients, strict=True):
                span = point.abs().amax(0 if turned else 1, keepdim=True) / 2 ** (bits - 1)
                w.copy_((w - 0.1 * span * g.sign()).clamp(point - 0.45 * span, point + 0.45 * span))


@pytest.mark.parametrize("bits", [(1,), (17,), ()])
def test_impossible_bits(bits: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="bits from 2 to 16"):
        QuantizationConfig(bits=bits)


def test_weights_that_are_quantised_already_are_refused(any_tiny: HookedModel, task: Task) -> None:
    inner = any_tiny.blocks[0].mlp.out.original_component
    inner.weight = torch.nn.Parameter(inner.weight.to(torch.int8), requires_grad=False)
    attack = Quantization()
    with pytest.raises(ValueError, match="quantised already"):
        attack.search(any_tiny, Seen.of(task, attack), None, QuantizationConfig())


@pytest.mark.ci
def test_an_error_at_the_second_matrix_restores_the_first(
    any_tiny: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = fingerprint(any_tiny), []

    def fails_second(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
        calls.append(weight)
        if len(calls) == 2:
            raise MemoryError("no room")
        return rounded(weight, bits, group)

    monkeypatch.setattr(file, "rounded", fails_second)
    with pytest.raises(MemoryError, match="no room"), quantize(2).on(any_tiny):
        pass
    assert len(calls) == 2
    assert fingerprint(any_tiny) == before
