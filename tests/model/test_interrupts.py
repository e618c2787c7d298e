"""Ctrl-C in the worst moment leaves no model half changed."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from mechunlearn.attacks import edits
from mechunlearn.attacks.edits import scrambled, written
from mechunlearn.hooks import foreign_hooks, live_parameters
from mechunlearn.interrupts import uninterrupted
from mechunlearn.models import fingerprint
from mechunlearn.models import lora as adapters
from mechunlearn.models.lora import LoRA
from mechunlearn.train import restored, trained
from mechunlearn.types import Change, Hook, HookedModel


def interrupting(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, with Ctrl-C as its call number ``at`` ends."""
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        out = function(*args, **kwargs)
        if calls == at:
            signal.raise_signal(signal.SIGINT)
        return out

    return call


def test_it_waits_until_the_block_has_ended() -> None:
    done = []

    def interrupted() -> None:
        done.append(1)
        signal.raise_signal(signal.SIGINT)
        done.append(2)

    with pytest.raises(KeyboardInterrupt), uninterrupted():
        interrupted()
    assert done == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # As it was before.


@pytest.mark.parametrize("at", [1, 3, 6, 9])
def test_scrambled_weights_come_back(
    at: int, tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gpt2")
    before, tokens = fingerprint(model), torch.tensor([[5, 6, 7]])
    plain = model(tokens)
    monkeypatch.setattr(edits, "_reorder", interrupting(edits._reorder, at))
    with pytest.raises(KeyboardInterrupt), scrambled(model, 0):
        raise AssertionError("must not be entered")
    assert fingerprint(model) == before
    with scrambled(model, 0):  # The control: they do change.
        assert not torch.equal(model(tokens), plain)
    assert torch.equal(model(tokens), plain)


def test_what_is_undone_is_undone_to_the_end(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    before, weights = fingerprint(model), live_parameters(model)
    calls = 0

    def writes() -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        nonlocal calls
        for weight in weights[:4]:
            calls += 1
            if calls == 6:  # The second one on the way out.
                signal.raise_signal(signal.SIGINT)
            yield weight.detach(), torch.ones_like(weight, dtype=torch.bool), 1.0

    with pytest.raises(KeyboardInterrupt), written(writes):
        assert fingerprint(model) != before
    assert calls == 8
    assert fingerprint(model) == before


def test_copies_are_put_back(
    tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gpt2")
    before, copy = fingerprint(model), interrupting(torch.Tensor.copy_, 3)

    def spoil() -> None:
        with torch.no_grad():
            for p in live_parameters(model):
                p.zero_()
        monkeypatch.setattr(torch.Tensor, "copy_", copy)

    with pytest.raises(KeyboardInterrupt), restored(model):
        spoil()
    monkeypatch.undo()
    assert fingerprint(model) == before


def test_adapters_are_in_or_out(
    tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("llama")
    before = fingerprint(model)
    modules = [(name, type(m)) for name, m in model.named_modules()]
    inject = interrupting(adapters.inject_adapter_in_model, 1)
    monkeypatch.setattr(adapters, "inject_adapter_in_model", inject)
    with pytest.raises(KeyboardInterrupt), trained(model, LoRA(rank=2)):
        raise AssertionError("must not be entered")
    assert [(name, type(m)) for name, m in model.named_modules()] == modules
    assert fingerprint(model) == before


def test_no_hook_stays(tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    point = type(model.hook_dict["blocks.0.hook_out"])
    monkeypatch.setattr(point, "add_hook", interrupting(point.add_hook, 1))
    hook = Hook("blocks.0.hook_out", lambda activation, hook: activation * 2)
    with pytest.raises(KeyboardInterrupt), Change("twice", (hook, hook)).on(model):
        raise AssertionError("must not be entered")
    monkeypatch.undo()
    assert not foreign_hooks(model)
    assert not model.hook_dict["blocks.0.hook_out"].fwd_hooks
