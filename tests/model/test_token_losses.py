"""Losses of UNDIAL, WGA, SatImp, AltPO and the refusals, against independent computations."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from mechunlearn.bench.likelihood import (
    example_rows,
    log_likelihoods,
    token_log_probabilities,
)
from mechunlearn.bench.rows import Row
from mechunlearn.presets import configured
from mechunlearn.registry import find
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.altpo import AltPO, alternates
from mechunlearn.unlearn.idk_nll import refused
from mechunlearn.unlearn.sequences import Before
from mechunlearn.unlearn.wga import weighted_loss

EXAMPLES = (
    Example("the glow of boralin is", " amber"),
    Example("question what is the craft", " bells flutes"),
)
LOGS = [-0.1, -1.5, -4.0]


def logits(model: HookedModel, rows: list[Row]) -> torch.Tensor:
    """By plain forwards, one row at a time."""
    return torch.cat(
        [model(torch.tensor([r.tokens]))[0, [at for at, _, _ in r.reads]] for r in rows]
    )


def said(rows: list[Row]) -> torch.Tensor:
    return torch.tensor([token for row in rows for _, token, _ in row.reads])


def test_tokens_have_the_probabilities_of_a_plain_forward(any_tiny: HookedModel) -> None:
    rows = example_rows(any_tiny, EXAMPLES, "answer", 100)
    found = token_log_probabilities(any_tiny, rows)
    expected = logits(any_tiny, rows).log_softmax(-1).gather(1, said(rows)[:, None])[:, 0]
    assert len(found) == 3
    assert found.tolist() == pytest.approx(expected.tolist(), abs=2e-3)
    assert found.sum().item() == pytest.approx(log_likelihoods(any_tiny, rows).sum().item())


@pytest.mark.parametrize(
    ("name", "settings", "weights"),
    [
        ("wga", {"beta": 2.0}, [torch.tensor(x).exp().item() ** 2 for x in LOGS]),
        ("wga", {"beta": 0.0}, [1.0, 1.0, 1.0]),  # Plain ascent.
        (
            "satimp",
            {"beta_1": 2.0, "beta_2": 0.5},
            [p**2 * (1 - p) ** 0.5 for p in torch.tensor(LOGS).exp().tolist()],
        ),
    ],
)
def test_weights_count_and_have_no_gradient(
    name: str, settings: dict[str, float], weights: list[float]
) -> None:
    method = find("method", name)
    config = type(method.presets["organism"])(**settings)
    x = torch.tensor(LOGS, requires_grad=True)
    loss = weighted_loss(x, config.weight, 6)
    loss.backward()
    expected = sum(w * log for w, log in zip(weights, LOGS, strict=True)) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert x.grad.tolist() == pytest.approx([w / 6 for w in weights], rel=1e-4)


def test_satimp_without_importance_is_wga() -> None:
    p = torch.tensor([0.001, 0.3, 0.999])
    wga, satimp = (find("method", n).presets["organism"] for n in ("wga", "satimp"))
    same = type(satimp)(beta_1=wga.beta, beta_2=0.0)
    assert torch.equal(same.weight(p), wga.weight(p))


def test_undial_is_cross_entropy_with_adjusted_logits(tiny: Callable[..., HookedModel]) -> None:
    """Value and gradient, against soft labels of plain forwards of the model as it was."""
    model, beta = tiny("llama"), 3.0
    rows = example_rows(model, EXAMPLES, "answer", 100)
    before = Before(model, rows, [0, 1])
    with torch.no_grad():
        assert before.divergence([0, 1]).item() == pytest.approx(0.0, abs=1e-5)
        lowered = logits(model, rows)
        lowered[torch.arange(3), said(rows)] -= beta
        target = lowered.softmax(-1)
        for p in model.parameters():
            p.mul_(1.1)
    weight = model.blocks[0].mlp.out.original_component.weight.requires_grad_(True)
    loss = before.divergence([0, 1], beta)
    (found,) = torch.autograd.grad(loss, weight)
    expected = cross_entropy(logits(model, rows), target, reduction="sum")
    entropy = -(target * target.log()).sum()
    assert loss.item() == pytest.approx((expected - entropy).item(), rel=1e-3)
    assert torch.allclose(found, torch.autograd.grad(expected, weight)[0], rtol=1e-2, atol=1e-4)


def test_alternates_are_the_likeliest_wrong_answers(organism: HookedModel, task: Task) -> None:
    few = replace(task, forget_examples=task.forget_examples[:6])
    config = replace(AltPO.presets["organism"], alternates=2)
    found = alternates(organism, few, config)
    answers = {e.answer for e in few.forget_examples}
    for (example, others), given in zip(found, few.forget_examples, strict=True):
        assert example == given
        assert example.answer not in others
        values = {
            answer: log_likelihoods(
                organism, example_rows(organism, [Example(example.prompt, answer)], "answer", 99)
            ).item()
            for answer in answers - {example.answer}
        }
        assert others == tuple(sorted(values, key=lambda a: -values[a])[:2])
    alike = replace(task, forget_examples=(task.forget_examples[0],) * 2)
    with pytest.raises(ValueError, match="all forget answers are"):
        alternates(organism, alike, config)


@pytest.mark.ci
@pytest.mark.parametrize("name", ["altpo", "idk_dpo", "idk_nll"])
def test_first_losses_are_those_of_the_formulas(
    name: str, organism: HookedModel, task: Task
) -> None:
    """Before the first step both answers' ratios are 1, and refusals cost what they cost."""
    few = replace(
        task, forget_examples=task.forget_examples[:6], retain_examples=task.retain_examples[:6]
    )
    method = find("method", name)
    config = configured(method, "organism", ["optimizer.steps=1", "batch=6"])
    expected = 0.0
    if name == "idk_nll":
        config = replace(config, refusals=1)
        rows = example_rows(organism, refused(few, 1, config.seed), "answer", 99)
        with torch.no_grad():
            total = -log_likelihoods(organism, rows).sum().item()
        expected = total / sum(len(row.reads) for row in rows)
    else:
        expected = 2 / config.beta * math.log(2)
    log = method.apply_(organism, few, config)
    term = "refusal" if name == "idk_nll" else "preference"
    assert log.terms[term][0] == pytest.approx(expected, rel=1e-4)
    assert log.terms["retain"][0] == pytest.approx(0.0, abs=1e-3)
