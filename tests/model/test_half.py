"""Products of half precision on CPUs without instructions for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import mechunlearn.half
from mechunlearn.attacks.attribution import weight_scores
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import text_rows
from mechunlearn.half import _PRODUCTS, HALVES, quick_products
from mechunlearn.hooks import run_blocks
from mechunlearn.models import load
from mechunlearn.presets import configured
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn.npo import NPO, npo_

EACH = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, w: torch.nn.functional.linear(x, w),
    "linear with bias": lambda x, w: torch.nn.functional.linear(x, w, w[:, 0]),
    "batches": lambda x, w: x.expand(3, -1, -1) @ w.T.expand(3, -1, -1),
    "einsum": lambda x, w: torch.einsum("pd,kd->pk", x, w),
}


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechunlearn.half, "fast_half", lambda device, dtype="bfloat16": False)


def random(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, 64, generator=generator).to(dtype) for n in (40, 24))  # type: ignore[return-value]


@EACH
@pytest.mark.parametrize("kind", PRODUCTS)
def test_a_product_is_that_of_float32_rounded(
    kind: str, dtype: torch.dtype, slow_cpu: None
) -> None:
    x, w = random(dtype)
    with quick_products(w):
        found = PRODUCTS[kind](x, w)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found, PRODUCTS[kind](x.float(), w.float()).to(dtype), rtol=0, atol=0
    )


@EACH
def test_gradients_are_too(dtype: torch.dtype, slow_cpu: None) -> None:
    x, w = random(dtype)
    w.requires_grad_(True)
    with quick_products(w):
        (x @ w.T).backward(torch.ones(40, 24, dtype=dtype))
    assert w.grad is not None
    wanted = (torch.ones(24, 40) @ x.float()).to(dtype)
    assert torch.equal(w.grad, wanted)


def test_nothing_else_changes(slow_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = random(torch.float32)
    plain, alone = mechunlearn.half._InFloat32, x @ w.T
    assert not isinstance(quick_products(w), plain)
    assert isinstance(quick_products(w.bfloat16()), plain)
    with quick_products(w.bfloat16()):
        assert torch.equal(x @ w.T, alone)
        assert not isinstance(quick_products(w.half()), plain)  # Once is enough.
    monkeypatch.setattr(mechunlearn.half, "fast_half", lambda device, dtype="bfloat16": True)
    assert not isinstance(quick_products(w.bfloat16()), plain)
    monkeypatch.undo()
    assert not isinstance(quick_products(torch.empty(2, 2, dtype=torch.half, device="meta")), plain)


class Halves(TorchDispatchMode):
    """Counts the products of half-precision matrices that reach PyTorch."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func in _PRODUCTS and args[0].dtype in HALVES
        return func(*args, **(kwargs or {}))


def states(model: HookedModel, task: Task) -> None:
    with torch.no_grad():
        run_blocks(model, torch.tensor([[1, 2, 3]]), 1)


def answers(model: HookedModel, task: Task) -> None:
    score(model, task.forget[:4], task.prompt)


def attribution(model: HookedModel, task: Task) -> None:
    weight_scores(model, text_rows(model, task.forget_text[:4], 16, 2), layers=[0])


def unlearning(model: HookedModel, task: Task) -> None:
    npo_(model, task, configured(NPO, "organism", ["batch=2", "optimizer.steps=1"]))


@pytest.mark.ci
@pytest.mark.parametrize("use", [states, answers, attribution, unlearning])
def test_a_model_is_computed_so(
    use: Callable[[HookedModel, Task], None], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("organism:original", dtype="bfloat16")
    for fast in (True, False):
        monkeypatch.setattr(mechunlearn.half, "fast_half", lambda device, dtype, fast=fast: fast)
        with Halves() as halves:
            use(model, task)
        assert (halves.count > 0) == fast
