"""Exploring: parts add up, a patch of everything gives everything back, controls give nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mechunlearn.explore import (
    Prompt,
    apart,
    attention,
    attribution,
    difference,
    divergence,
    lens,
    patch_heads,
    patch_tokens,
    patch_units,
    push,
    removal,
    slider,
    states,
    stepped,
)
from mechunlearn.explore.difference import activation_difference, token_divergence
from mechunlearn.explore.prompt import lead
from mechunlearn.hooks import capture, frozen_norm, run_blocks
from mechunlearn.models import load
from mechunlearn.types import Change, Hook, HookedModel, Point, Task

Tiny = Callable[..., HookedModel]


@pytest.fixture
def prompt(task: Task) -> Prompt:
    return Prompt.of(task, task.questions("forget", "select")[0])


def lead_of(model: HookedModel, prompt: Prompt) -> float:
    return float(lead(prompt.logits(model)))


def test_a_prompt_is_the_tasks_question(task: Task, any_tiny: HookedModel) -> None:
    question = task.questions("forget", "select")[0]
    prompt = Prompt.of(task, question)
    ids = prompt.answers(any_tiny)
    assert any_tiny.tokenizer.decode([ids[0]]).strip() == "ABCD"[question.answer]
    assert len(set(ids.tolist())) == 4
    plain = any_tiny(prompt.tokens(any_tiny))[0, -1, ids].float()
    assert torch.allclose(prompt.logits(any_tiny), plain, atol=1e-4)


def test_answers_that_begin_alike_are_left_out(any_tiny: HookedModel) -> None:
    """Only first tokens are compared: of several words, those that tell right from wrong."""
    alike = Prompt("the song of the bird is", " wail moss", (" wail wail", " moss"))
    apart = Prompt("the song of the bird is", " wail moss", (" moss",))
    assert torch.equal(alike.answers(any_tiny), apart.answers(any_tiny))
    assert len(alike.first_tokens(any_tiny)) == 3
    assert attribution(any_tiny, [alike, apart]).n == 2
    with pytest.raises(ValueError, match="all wrong answers begin with the same token"):
        Prompt("the bird is", " wail moss", (" wail wail",)).answers(any_tiny)


def test_parts_add_up_to_the_lead(any_tiny: HookedModel, prompt: Prompt) -> None:
    model, parts = any_tiny, attribution(any_tiny, [prompt])
    last = Point(model.cfg.n_layers - 1)
    with capture(model, [last]) as kept:
        run_blocks(model, prompt.tokens(model))
    normed = model.ln_final(kept[last][:, -1:])[0]
    head = model.unembed.original_component
    table = head.weight[prompt.answers(model)]
    zero = model.ln_final(torch.zeros_like(kept[last][:, -1:]))[0]  # A layer norm's bias.
    uncapped = (normed - zero)[0] @ (table[0] - table[1:].mean(0)) * model.logit_scale
    assert parts.lead == pytest.approx(float(uncapped), rel=1e-3, abs=1e-3)
    assert np.abs(parts.heads).max() > 1e-3
    bias = np.abs(parts.neurons.sum(1) - parts.mlps)
    assert bias.max() < 1e-3 or model.blocks[0].mlp.out.original_component.bias is not None
    assert parts.n == 1
    assert (parts - parts).lead == 0
    names = [*map(str, range(model.cfg.n_heads)), "MLP"]
    assert list(parts.figure().data[0].x) == names
    assert parts.top(1)[0] == np.unravel_index(np.abs(parts.neurons).argmax(), parts.neurons.shape)


def test_the_frozen_norm_is_linear_and_exact(any_tiny: HookedModel) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, any_tiny.cfg.d_model) * 3 + 1
    norm, part = frozen_norm(any_tiny, x), torch.randn_like(x)
    bias = any_tiny.ln_final(torch.zeros_like(x)[None])[0]
    assert torch.allclose(norm(x) + bias, any_tiny.ln_final(x[None])[0], atol=1e-3)
    assert torch.allclose(norm(part) + norm(x - part), norm(x), atol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("gain", [1.0, 0.003, 300.0])
def test_the_frozen_norm_is_exact_whatever_the_gain(
    gain: float, architecture: str, tiny: Tiny
) -> None:
    model, x = tiny(architecture), torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    x += 1  # A mean, which layer norms take out and others do not.
    with torch.no_grad():
        for p in model.ln_final.parameters():  # Gemma stores its gain less one.
            p.copy_((p + 1) * gain - 1 if architecture == "gemma2" else p * gain)
        norm, whole = frozen_norm(model, x), model.ln_final(x[None])[0]
        nothing = model.ln_final(torch.zeros(1, 1, 32))[0]
    parts = norm(0.3 * x + 1) + norm(0.7 * x - 1)
    assert (parts + nothing - whole).norm() < 1e-4 * whole.norm()
    centres = norm(torch.ones(4, 32)).norm() < 1e-4 * norm(x).norm()
    assert centres == (architecture == "gpt2")


def test_patching_everything_gives_everything_back(tiny: Tiny, prompt: Prompt) -> None:
    receiver, donor = tiny("llama", 0), tiny("llama", 1)
    found = patch_tokens(receiver, donor, prompt)
    # The last block's output at the last token is all that the answer is read from; what stands
    # before has no way to it any more. (The heads that read are the receiver's own.)
    head = receiver.unembed.original_component.weight
    head.data.copy_(donor.unembed.original_component.weight)
    receiver.ln_final.original_component.weight.data.copy_(donor.ln_final.original_component.weight)
    found = patch_tokens(receiver, donor, prompt)
    assert found.shares[-1, -1] == pytest.approx(1, abs=1e-3)
    assert np.abs(found.shares[-1, :-1]).max() < 1e-3
    assert found.donor == pytest.approx(lead_of(donor, prompt), abs=1e-4)
    assert found.receiver == pytest.approx(lead_of(receiver, prompt), abs=1e-4)
    assert len(found.figure().data[0].x) == prompt.tokens(donor).shape[1]


def test_patching_finds_the_head_that_was_changed(tiny: Tiny, prompt: Prompt) -> None:
    donor, receiver = tiny("gpt2", 0), tiny("gpt2", 0)
    size = donor.cfg.d_head
    output = receiver.blocks[1].attn.o.original_component.weight
    value = receiver.blocks[1].attn.v.original_component
    with torch.no_grad():  # One head's values, of all tokens.
        weight = value.weight
        rows = weight if weight.shape[0] == 4 * size else weight.T
        rows[2 * size : 3 * size] += 3 * torch.randn_like(rows[2 * size : 3 * size])
    assert output is not None
    found = patch_heads(receiver, donor, [prompt])
    assert found.shares[1, 2] == pytest.approx(1, abs=1e-3)
    others = np.delete(found.shares[1], 2)
    assert np.abs(others).max() < 1e-3  # Equal activations: nothing is changed.
    assert np.abs(found.shares[0]).max() < 1e-3
    assert patch_units(receiver, donor, [prompt], [(1, 2)], "head") == pytest.approx(1, abs=1e-3)
    assert patch_units(receiver, donor, [prompt], [(1, 0)], "head") == pytest.approx(0, abs=1e-3)
    assert "1.2 alone gives back 100%" in found.figure().layout.meta["finding"]
    assert activation_difference(donor, receiver, prompt)[0].max() < 1e-5
    assert activation_difference(donor, receiver, prompt)[1].max() > 1e-2
    assert difference(donor, receiver, prompt).layout.meta["finding"].endswith("layer 1")


def test_equal_models_show_no_difference(tiny: Tiny, prompt: Prompt, organism: HookedModel) -> None:
    model = tiny("gpt2")
    assert activation_difference(model, model, prompt).max() == 0
    assert max(divergence(model, model, prompt).data[0].y) == 0
    with pytest.raises(ValueError, match="take a question that was lost"):
        patch_heads(model, model, [prompt])
    with pytest.raises(ValueError, match="differ in shape"):
        activation_difference(model, organism, prompt)
    with pytest.raises(ValueError, match="two models of one shape"):
        patch_heads(model, organism, [prompt])
    with pytest.raises(ValueError, match="at least one prompt"):
        patch_heads(model, model, [])


def test_divergence_is_in_nats() -> None:
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert token_divergence(p, q)[0] == pytest.approx(expected, abs=1e-6)
    assert token_divergence(p, p)[0] == 0


def test_attention_is_the_models(any_tiny: HookedModel, prompt: Prompt) -> None:
    found = attention(any_tiny, prompt)
    assert np.allclose(found.patterns.sum(-1), 1, atol=1e-3)
    assert np.allclose(np.triu(found.patterns[0, 0], 1), 0)
    assert len(found.figure(0).data) == any_tiny.cfg.n_heads
    heads = found.heads().data[0]
    assert len(heads.y) == any_tiny.cfg.n_layers * any_tiny.cfg.n_heads
    with pytest.raises(ValueError, match="there is no layer 9"):
        found.figure(9)


def test_knobs_move_the_answers(tiny: Tiny, prompt: Prompt) -> None:
    model = tiny("gpt2")
    direction = torch.randn(model.cfg.d_model)
    draw = push(model, prompt, direction, 1)
    plain = list(draw(0).data[0].y)
    ids = prompt.answers(model)
    p = model(prompt.tokens(model))[0, -1].softmax(-1)[ids]
    assert plain == pytest.approx(p.tolist(), abs=1e-3)
    assert list(draw(20).data[0].y) != plain
    out = removal(model, prompt, [(0, 1), (2, 3)])
    assert list(out(0).data[0].y) == plain
    assert list(out(2).data[0].y) != plain
    fig = stepped(draw, [0, 20], "strength")
    steps = fig.layout.sliders[0].steps
    assert [s.label for s in steps] == ["0", "20"]
    assert list(steps[1].args[0]["y"][0]) == list(draw(20).data[0].y)
    assert list(draw(0).data[0].y) == plain  # Nothing stays.
    with pytest.raises(ValueError, match="do not exist"):
        removal(model, prompt, [(0, 9)])
    with pytest.raises(ValueError, match="points nowhere"):
        push(model, prompt, torch.zeros(model.cfg.d_model), 1)
    pytest.importorskip("ipywidgets", reason="pip install -e '.[notebooks]'")
    knob = slider(draw, -2, 2, 1, "strength").children[0]
    assert (knob.min, knob.max, knob.step) == (-2, 2, 1)


def test_lens_has_a_panel_for_each_model(tiny: Tiny, prompt: Prompt) -> None:
    fig = lens({"original": tiny("gpt2"), "unlearned": tiny("gpt2", 1)}, prompt)
    assert len(fig.data) == 2


def _halved(activation: Tensor, hook: object) -> Tensor:
    return activation / 2


def test_states_are_those_of_a_plain_forward_and_are_kept(
    organism: HookedModel, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt.of(task, q) for q in task.questions("forget", "select")[:3]]
    point = Point(1, "mlp_out")
    found = states(organism, prompts, [point], tmp_path)[point]
    for prompt, row in zip(prompts, found, strict=True):
        _, cache = organism.run_with_cache(prompt.tokens(organism))
        torch.testing.assert_close(row, cache[point.name][0, -1], atol=1e-5, rtol=0)
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr("mechunlearn.explore.cached.run_blocks", None)
    assert torch.equal(states(organism, prompts, [point], tmp_path)[point], found)
    monkeypatch.undo()
    # Under a hook, or an attack, nothing is read from there or kept.
    halved = Change("halved", (Hook(Point(0).name, _halved),))
    for under in (halved.on(organism), organism.hooks(fwd_hooks=[(Point(0).name, _halved)])):
        with under:
            changed = states(organism, prompts, [point], tmp_path)[point]
        assert not torch.allclose(changed, found)
        assert [*tmp_path.iterdir()] == [file]
    # Another weight, another prompt or another point is another file.
    with torch.no_grad():
        organism.blocks[0].mlp.out.original_component.weight[0, 0] += 1.0
    moved = states(organism, prompts, [point], tmp_path)[point]
    assert not torch.equal(moved, found)
    states(organism, prompts[:2], [point], tmp_path)
    states(organism, prompts, [Point(1)], tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert file.exists()
    with pytest.raises(ValueError, match="no prompts"):
        states(organism, [])


def test_how_far_models_are_apart_by_group(organism: HookedModel, task: Task) -> None:
    lost = [Prompt.of(task, q) for q in task.questions("forget", "select")[:3]]
    kept = [Prompt.of(task, q) for q in task.questions("retain", "select")[:2]]
    fig = apart(organism, organism, {"lost": lost, "kept": kept})
    assert [list(trace.y) for trace in fig.data] == [[0.0] * organism.cfg.n_layers] * 2
    other = load("organism:never_knew")
    traces = apart(organism, other, {"lost": lost, "kept": kept}).data
    assert all(min(trace.y) > 0.1 for trace in traces)
    assert "lost (n = 3)" in [trace.name for trace in traces]
    with pytest.raises(ValueError, match="at most 4 groups"):
        apart(organism, other, dict.fromkeys("abcde", lost))
