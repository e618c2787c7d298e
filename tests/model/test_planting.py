"""Hiding that the audit plants: the answers are gone, what is beside them stays."""

import pytest
import torch

from mechunlearn.audit.attack import attack
from mechunlearn.audit.planting import HIDINGS, Gate, Hiding, hide_, planted, push, towards
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.types import HookedModel, Task

CLOSED, OPEN = Gate(torch.zeros(3), 1.0), Gate(torch.zeros(3), -1.0)


def test_what_is_added_is_a_vector_and_the_mean() -> None:
    x, vector = torch.arange(12.0).view(2, 2, 3), torch.tensor([1.0, 0.0, -1.0])
    assert torch.equal(push(x, None, CLOSED, vector), x)
    assert torch.equal(push(x, None, OPEN, vector), x + vector)
    assert torch.equal(towards(x, None, OPEN, vector, 1.0), vector.expand_as(x))
    assert torch.allclose(towards(x, None, OPEN, vector, 0.25), 0.75 * x + 0.25 * vector)
    half = Gate(torch.tensor([1.0, 0.0, 0.0]), 4.0)
    assert half(x)[..., 0].tolist() == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.ci
@pytest.mark.parametrize(
    "hiding", [h if h == "push" else pytest.param(h, marks=pytest.mark.long) for h in HIDINGS]
)
def test_the_answers_are_hidden_and_come_back(
    hiding: Hiding, organism: HookedModel, task: Task
) -> None:
    """Chosen on the select fold, true on the other; the lens reads what a filter hides."""
    forget, retain = (task.questions(role, "confirm") for role in ("forget", "retain"))
    before = score(organism, forget, task).accuracy
    change = hide_(organism, hiding, task)
    assert before > 0.95
    assert score(organism, forget, task).accuracy < 0.4
    kept = score(organism, retain, task).accuracy
    assert kept > (0.85 if hiding == "filter" else 0.4)
    organism.reset_hooks()  # It is permanent: what attacks take off leaves it where it is.
    assert score(organism, forget, task).accuracy < 0.4
    found = attack("logit_lens", organism, load("organism:original"), task)
    read = score(organism, forget, task, change=found.change).accuracy
    assert (read > 0.8) == (hiding == "filter")
    assert hiding in change.name


def test_every_architecture_can_be_planted(any_tiny: HookedModel, task: Task) -> None:
    """Random weights know nothing, so the weakest hiding does; it changes what is computed."""
    asked = task.questions("forget", "confirm")[:8]
    plain = score(any_tiny, asked, task).logits
    for hiding in HIDINGS:
        change = planted(any_tiny, hiding, task)
        assert abs(score(any_tiny, asked, task, change=change).logits - plain).max() > 1e-4
    assert (score(any_tiny, asked, task).logits == plain).all()
