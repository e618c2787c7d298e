"""Read-outs in float32 from half-precision models, in parts, within the memory that there is."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from mechunlearn.attacks.gcg.attack import GCG
from mechunlearn.bench import batches as sizing
from mechunlearn.bench import footprint, perplexity, score
from mechunlearn.bench.generation import generate
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.cost.job import Job
from mechunlearn.cost.memory import Sizes, forward_bytes, logits_bytes, shape_of, tokens_per_batch
from mechunlearn.hooks import forward_to, live_parameters, unembed
from mechunlearn.hooks.product import full_product
from mechunlearn.models import configuration, load, save
from mechunlearn.presets import configured
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn.records import UnlearnPlan


def close_letters(model: HookedModel) -> None:
    """Give all tokens nearly one unembedding, so that logits lie closer than bfloat16 tells."""
    head = model.unembed.original_component
    with torch.no_grad():
        head.weight.copy_(head.weight[:1] + (head.weight - head.weight[:1]) * 0.02)


@pytest.mark.ci
def test_letters_do_not_tie_in_bfloat16(task: Task) -> None:
    model, questions = load("organism:original", dtype="bfloat16"), task.forget[:100]
    close_letters(model)
    found = np.sort(score(model, questions, task).logits, axis=1)
    assert (found[:, -1] > found[:, -2]).all()
    rounded = np.sort(torch.tensor(found).bfloat16().float().numpy(), axis=1)
    assert (rounded[:, -1] == rounded[:, -2]).any()  # What a product in bfloat16 gives.


@pytest.mark.ci
def test_the_read_out_is_the_plain_forward_with_a_float32_head() -> None:
    model = load("organism:original", dtype="bfloat16")
    head = model.unembed.original_component
    states: list[torch.Tensor] = []
    tokens = torch.tensor([[2, 5, 9, 30]])
    with torch.no_grad():
        watching = head.register_forward_pre_hook(lambda module, args: states.append(args[0]))
        model(tokens)
        watching.remove()
        expected = states[0].float() @ head.weight.float().T
        read = unembed(model, forward_to(model, tokens, model.cfg.n_layers - 1)[0])
    assert read.dtype == torch.float32
    torch.testing.assert_close(read, expected[0])


def test_a_product_of_half_weights_is_the_float32_one() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50_000, 96, generator=generator).bfloat16()  # Two parts.
    bias, x = torch.randn(50_000, generator=generator), torch.randn(3, 96, generator=generator)
    results = []
    for w in (weight.clone(), weight.float()):
        leaf = x.clone().requires_grad_()
        w.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            product = full_product(leaf, w, bias.to(w.dtype).detach())
        product.square().sum().backward()
        results.append((product.detach(), leaf.grad, w.grad.float()))
    (half, of_x, of_w), (full, right_x, right_w) = results
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.01)  # The bias is rounded.
    torch.testing.assert_close(of_x, right_x, atol=20.0, rtol=0.01)
    torch.testing.assert_close(of_w, right_w, atol=2.0, rtol=0.02)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_logits_in_parts_change_nothing(
    tiny: Callable[[str], HookedModel], task: Task, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Cloze, perplexity and gradients with a few rows of logits at a time."""
    model, texts = tiny(family), ["the song of the bird is wail", "the glow", "is the song"]
    rows = example_rows(model, task.examples("forget")[:6], "prompt_and_answer", 64)
    weights = live_parameters(model)

    def numbers() -> tuple[np.ndarray, float, list[torch.Tensor]]:
        for p in weights:
            p.requires_grad_(True)
        log_likelihoods(model, rows).sum().backward()
        gradients = [p.grad.clone() for p in weights if p.grad is not None]
        for p in weights:
            p.requires_grad_(False)
            p.grad = None
        cloze = score(model, task.forget[:6], task.prompt, scoring="cloze").logits
        return cloze, perplexity(model, texts).nats_per_token, gradients

    whole = numbers()
    monkeypatch.setitem(footprint.LOGITS, "cpu", 3 * model.cfg.d_vocab)
    monkeypatch.setattr("mechunlearn.bench.vocabulary.WORTH_RECOMPUTING", 1)
    parts = numbers()
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-5)
    assert parts[1] == pytest.approx(whole[1], abs=1e-6)
    for ours, right in zip(parts[2], whole[2], strict=True):
        torch.testing.assert_close(ours, right, atol=1e-4, rtol=1e-4)


def test_generation_settings_of_the_checkpoint_do_not_count(
    organism: HookedModel, task: Task
) -> None:
    prompts = [question.stem for question in task.forget[:8]]
    plain = generate(organism, prompts, 6)
    before = copy.deepcopy(organism.original_model.generation_config)
    organism.original_model.generation_config = GenerationConfig(
        repetition_penalty=1.9, no_repeat_ngram_size=1, suppress_tokens=[5, 6, 7], do_sample=True,
        temperature=2.0, num_beams=3, min_new_tokens=5, max_new_tokens=2,
    )  # fmt: skip
    shipped = organism.original_model.generation_config
    try:
        assert generate(organism, prompts, 6) == plain
        assert organism.original_model.generation_config is shipped
        naive = organism.tokenizer(prompts[0])["input_ids"]
        n = len(naive)
        for _ in range(6):
            naive.append(int(organism(torch.tensor([naive]))[0, -1].argmax()))
            if naive[-1] == organism.tokenizer.eos_token_id:
                naive.pop()
                break
        assert plain[0] == organism.tokenizer.decode(naive[n:])
    finally:
        organism.original_model.generation_config = before


def test_tokens_that_the_checkpoint_ends_with_end_an_answer(
    organism: HookedModel, task: Task
) -> None:
    (plain,) = generate(organism, [task.forget[0].stem], 6)
    second = organism.tokenizer(plain)["input_ids"]
    second = [t for t in second if t != organism.tokenizer.bos_token_id][1]
    before = organism.original_model.generation_config
    organism.original_model.generation_config = GenerationConfig(eos_token_id=[second])
    try:
        (shorter,) = generate(organism, [task.forget[0].stem], 6)
    finally:
        organism.original_model.generation_config = before
    assert plain.startswith(shorter)
    assert len(shorter) < len(plain)


def test_batches_follow_the_memory_that_is_free(
    tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "free_memory", lambda device: 1e12)
    roomy = tiny("llama")
    most = sizing.tokens_of("cpu", roomy.cfg.d_model)
    assert sizing.token_budget(roomy) == sizing.token_budget(roomy, backward=True) == most
    monkeypatch.setattr(sizing, "free_memory", lambda device: 1e7)
    assert sizing.token_budget(roomy) == most  # Found once per model.
    narrow = tiny("llama")
    assert 1 <= sizing.token_budget(narrow, backward=True) < sizing.token_budget(narrow) < most


def test_a_checkpoint_is_saved_without_a_second_model(
    tiny: Callable[[str], HookedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain model that is written computes with the hooked model's own tensors."""
    model = tiny("llama")
    own = {p.data_ptr() for p in model.original_model.parameters()}
    written: list[set[int]] = []
    kind = type(model.original_model)
    save_plain = kind.save_pretrained

    def watched(plain: torch.nn.Module, *args: object, **kwargs: object) -> None:
        written.append({p.data_ptr() for p in plain.parameters()})
        save_plain(plain, *args, **kwargs)

    monkeypatch.setattr(kind, "save_pretrained", watched)
    save(model, tmp_path / "saved")
    assert written
    assert written[0] <= own
    tokens = torch.tensor([[2, 5, 9, 30]])
    assert torch.equal(load(str(tmp_path / "saved"))(tokens), model(tokens))


def test_estimates_count_the_vocabulary_and_the_resident_original() -> None:
    shape = shape_of(configuration("organism:original"))
    letters, cloze = Sizes(50, 100, 50), Sizes(50, 100, 50, reads=10)
    tokens = tokens_per_batch(shape, letters)
    logits = logits_bytes(shape, cloze, 10 * tokens // 50)
    assert logits > 0
    assert forward_bytes(shape, cloze) == forward_bytes(shape, letters) + logits
    wide = dataclasses.replace(shape, vocabulary=256_000)
    assert logits_bytes(wide, cloze, 10_000) < 1.1 * 8 * 2**24  # Not [tokens, vocabulary].
    job = Job(shape, letters, 50, 50, 50, 50)
    plain = GCG().cost(configured(GCG, "organism", []), job).memory
    matching = ["objective.layers=(1,)", "objective.dynamic.weight=1.0"]
    beside = GCG().cost(configured(GCG, "organism", matching), job).memory
    assert "original" not in plain
    assert beside["original"] >= 4 * shape.parameters


def test_unlearning_takes_a_number_format_that_can_be_trained() -> None:
    plan = UnlearnPlan("npo", dtype="bfloat16")
    assert plan.command("out").endswith("--dtype bfloat16")
    assert "--dtype" not in UnlearnPlan("npo").command("out")
    with pytest.raises(ValueError, match="cannot be quantised; use one of: auto, float32"):
        UnlearnPlan("npo", dtype="4bit")
    with pytest.raises(ValueError, match="unknown dtype 'bfloat61'; did you mean 'bfloat16'"):
        UnlearnPlan("npo", dtype="bfloat61")
