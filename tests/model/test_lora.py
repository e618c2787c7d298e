"""Adapters: they start as nothing, can be switched off, merged, removed, and read by PEFT."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from mechunlearn.models import fingerprint, save
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.train import trained
from mechunlearn.types import HookedModel

TOKENS = torch.tensor([[2, 5, 9, 30, 31, 7], [2, 8, 8, 40, 3, 6]])


def perturb(adapter: Adapter) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in adapter.parameters:
            p.add_(0.05 * torch.randn(p.shape, generator=generator))


def test_starts_as_nothing_is_switched_off_and_merges(any_tiny: HookedModel) -> None:
    before = any_tiny(TOKENS)
    adapter = Adapter(any_tiny, LoRA(rank=2, dropout=0.0))
    assert torch.equal(any_tiny(TOKENS), before)
    perturb(adapter)
    changed = any_tiny(TOKENS)
    assert (changed - before).abs().max() > 0.1
    with adapter.off():
        assert torch.equal(any_tiny(TOKENS), before)
    adapter.remove(merge=True)
    assert torch.allclose(any_tiny(TOKENS), changed, atol=1e-3)
    assert not any(p.requires_grad for p in any_tiny.parameters())


@pytest.mark.ci
def test_peft_and_transformers_load_what_is_saved(any_tiny: HookedModel, tmp_path: Path) -> None:
    save(any_tiny, tmp_path / "before")
    adapter = Adapter(any_tiny, LoRA(rank=2, alpha=6.0))
    perturb(adapter)
    changed = any_tiny(TOKENS)
    adapter.save(tmp_path / "adapter")
    adapter.remove(merge=True)
    save(any_tiny, tmp_path / "after")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "before")
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(TOKENS).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "after")(TOKENS).logits
    assert torch.allclose(adapted, changed, atol=1e-3)
    assert torch.allclose(merged, changed, atol=1e-3)


def test_an_error_leaves_the_model_bit_equal(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("llama")
    before = fingerprint(model)

    def fail() -> None:
        with trained(model, LoRA(rank=2)) as (_, adapter):
            assert adapter is not None
            perturb(adapter)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert fingerprint(model) == before


def test_blocks_targets_and_refusals(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    adapter = Adapter(model, LoRA(rank=2, targets=("q", "out")), blocks=[1])
    assert len(adapter.layers) == 2
    adapter.remove(merge=False)
    with pytest.raises(ValueError, match="match nothing"):
        Adapter(model, LoRA(rank=2, targets=("gate",)))
    with pytest.raises(ValueError, match=r"layers \[9\] do not exist"):
        Adapter(model, LoRA(rank=2), blocks=[9])
    with pytest.raises(ValueError, match="did you mean"):
        LoRA(targets=("gates",))
