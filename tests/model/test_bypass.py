"""Parts of blocks without hooks: the bits of the hooked ones, and not computed by them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge.generalized_components import PositionEmbeddingsAttentionBridge

from mechunlearn.hooks import bypass, linear_maps
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.types import HookedModel

Tiny = Callable[[str], HookedModel]
INSIDE = ("ln1.hook_scale", "attn.q.hook_out", "ln2.hook_normalized", "mlp.in.hook_in")
"""A point inside each part of a block."""
ENDS = (
    "ln1.hook_in",
    "attn.hook_in",
    "attn.hook_out",
    "ln2.hook_in",
    "mlp.hook_in",
    "mlp.hook_out",
)
"""First and last points of parts."""


def tokens() -> Tensor:
    return torch.randint(3, 40, (3, 9), generator=torch.Generator().manual_seed(0))


def padded() -> Tensor:
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[0, :4] = 0
    return mask


def hooks_on(
    model: HookedModel, names: tuple[str, ...], seen: dict[str, Tensor] | None = None
) -> Any:
    """Hooks that see everything and change nothing."""
    seen = {} if seen is None else seen
    blocks = range(model.cfg.n_layers)
    points = [f"blocks.{i}.{n}" for i in blocks for n in names]
    known = [n for n in points if n in model.hook_dict]
    hooks = [(n, lambda activation, hook, n=n: seen.update({n: activation})) for n in known]
    return model.hooks(fwd_hooks=hooks)


def results(
    model: HookedModel, names: tuple[str, ...] = (), seen: dict[str, Tensor] | None = None
) -> tuple[Tensor, list[Tensor | None]]:
    """Logits, and gradients of all weights, with some points hooked."""
    with hooks_on(model, names, seen):
        for p in model.parameters():
            p.requires_grad_(True)
        logits = model(tokens(), attention_mask=padded())
        logits[:, -1].logsumexp(-1).sum().backward()
    gradients = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
        p.requires_grad_(False)
    return logits.detach(), gradients


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the attentions that TransformerLens computes."""
    called, plain = [], PositionEmbeddingsAttentionBridge.forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(self.name)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(PositionEmbeddingsAttentionBridge, "forward", counted)
    return called


def test_bits_and_gradients_are_those_of_the_hooked_parts(any_tiny: HookedModel) -> None:
    logits, gradients = results(any_tiny)
    assert logits.std() > 0
    ends, seen = dict[str, Tensor](), dict[str, Tensor]()
    for names, into in ((ENDS, ends), (ENDS + INSIDE, seen)):
        same, others = results(any_tiny, names, into)
        assert torch.equal(logits, same)
        for ours, theirs in zip(gradients, others, strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or theirs is None or torch.equal(ours, theirs)
    assert len(seen) > len(ends) > 0
    for name, activation in ends.items():
        assert torch.equal(activation, seen[name]), name


def test_only_hooked_parts_are_computed_by_their_bridges(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, called = tiny("llama"), calls_of(monkeypatch)
    model(tokens())
    with hooks_on(model, ("hook_out", *ENDS)):
        model(tokens())
    assert called == []
    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_out", lambda x, hook: 0 * x)]):
        without = model(tokens())
    assert called == []
    assert not torch.allclose(without, model(tokens()))
    seen: list[Tensor] = []
    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_pattern", lambda x, hook: seen.append(x))]):
        model(tokens())
    assert len(called) == 1
    assert torch.allclose(seen[0].sum(-1), torch.ones(()))
    before = model(tokens())
    with model.hooks(fwd_hooks=[("blocks.0.attn.q.hook_out", lambda x, hook: 0 * x)]):
        changed = model(tokens())
    assert not torch.allclose(before, changed)
    assert torch.equal(before, model(tokens()))


def test_a_gradient_hook_is_heard(tiny: Tiny) -> None:
    model, seen = tiny("llama"), []
    for p in model.parameters():
        p.requires_grad_(True)
    hook = ("blocks.0.mlp.hook_out", lambda gradient, hook: seen.append(gradient))
    with model.hooks(bwd_hooks=[hook]):
        model(tokens()).sum().backward()
    model.requires_grad_(False)
    assert len(seen) == 1


def test_what_torch_hooks_is_heard(tiny: Tiny) -> None:
    """On a bridge, which then stays, and on the module inside, which runs either way."""
    model, heard = tiny("llama"), []
    bridge: Any = linear_maps(model, 0, ["out"])["out"]
    for module in (bridge, bridge.original_component):
        handle = module.register_forward_hook(lambda *_: heard.append(1))
        model(tokens())
        handle.remove()
    assert len(heard) == 2


def test_what_torch_hooks_in_front_is_heard(tiny: Tiny) -> None:
    """Pre-hooks on hook points, of the forward and of the backward pass."""
    model, heard = tiny("llama"), []
    inside = model.hook_dict["blocks.0.attn.q.hook_out"]
    model.requires_grad_(True)
    handles = [
        inside.register_forward_pre_hook(lambda *_: heard.append("forward")),
        inside.register_full_backward_pre_hook(lambda *_: heard.append("backward")),
    ]
    model(tokens()).sum().backward()
    for handle in handles:
        handle.remove()
    for p in model.parameters():
        p.grad = None
    model.requires_grad_(False)
    assert heard == ["forward", "backward"]


def test_folded_weights_are_computed_by_the_bridges(
    new_tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, called = new_tiny("llama"), calls_of(monkeypatch)
    model.enable_compatibility_mode()
    called.clear()
    model(tokens())
    assert len(called) == model.cfg.n_layers


def test_adapters_act_and_go(tiny: Tiny) -> None:
    model = tiny("llama")
    before = model(tokens())
    adapter = Adapter(model, LoRA(rank=2))
    for p in adapter.parameters:
        p.data.normal_(generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(tokens()), before)
    with adapter.off():
        assert torch.equal(model(tokens()), before)
    adapter.remove(merge=False)
    assert torch.equal(model(tokens()), before)


def test_fused_attention_is_close_and_leaves_no_setting(
    new_tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose fused attention rounds otherwise."""
    used, plain = [], torch.nn.functional.scaled_dot_product_attention
    expected = new_tiny("llama")(tokens(), attention_mask=padded())
    parts = bypass._parts
    monkeypatch.setattr(bypass, "_parts", lambda layer, fused: parts(layer, True))
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: used.append(1) or plain(*args, **kwargs),
    )
    model = new_tiny("llama")
    used.clear()
    fused = model(tokens(), attention_mask=padded())
    assert len(used) == model.cfg.n_layers
    assert torch.allclose(fused[padded().bool()], expected[padded().bool()], atol=1e-4)
    assert model.original_model.config._attn_implementation == "eager"


def test_an_error_inside_puts_everything_back(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    before = dict(model.blocks[0].original_component._modules)
    inner: Any = linear_maps(model, 0, ["out"])["out"].original_component
    monkeypatch.setattr(inner, "forward", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(tokens())
    assert dict(model.blocks[0].original_component._modules) == before
