"""What is computed on a GPU: the host's numbers, the same weights afterwards, and no waiting."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, MistralConfig

from mechunlearn.attacks.direction_ablation import ablate_direction
from mechunlearn.attacks.pruning import prune_weights
from mechunlearn.attacks.quantization import quantize
from mechunlearn.attacks.seen import Progress, Scored, Seen
from mechunlearn.bench import score
from mechunlearn.bench.engine import output, read_sums
from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import question_rows
from mechunlearn.cost.job import Cost, peak_memory
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import linear_maps
from mechunlearn.models import fingerprint, load
from mechunlearn.presets import configured
from mechunlearn.registry import find
from mechunlearn.train import Watch
from mechunlearn.types import Change, Direction, HookedModel, Task

CLOSE = 1e-3
"""Of a logit, between the host's sums in float32 and a GPU's."""
WORKSPACE = 2**26
"""Bytes that matrix products take on a GPU beside the tensors."""


def test_a_model_on_a_device_answers_as_on_the_host(
    placed_tiny: HookedModel, tiny_folder: Path, device: str, task: Task
) -> None:
    assert {p.device.type for p in placed_tiny.parameters()} == {device}
    assert placed_tiny.provenance.device.startswith(device)
    asked, host = task.forget[:12], load(str(tiny_folder), device="cpu")
    for scoring in ("letter", "cloze"):
        here, there = (score(m, asked, task.measured_by(scoring)) for m in (host, placed_tiny))
        assert abs(here.logits - there.logits).max() < CLOSE
        assert here.logits.std() > 100 * CLOSE


def ablation(model: HookedModel) -> Change:
    vectors = torch.randn(3, model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    return ablate_direction(model, Direction("random", (0, 1, 2), vectors))


def pruning(model: HookedModel) -> Change:
    weight = linear_maps(model, 1, ["out"])["out"].original_component.weight
    return prune_weights({(1, "out"): weight.abs() > weight.abs().median()})


def rounding(model: HookedModel) -> Change:
    return quantize(3)


@pytest.mark.parametrize("make", [ablation, pruning, rounding])
def test_a_change_acts_and_leaves_every_bit(
    placed_tiny: HookedModel, task: Task, make: Callable[[HookedModel], Change]
) -> None:
    before, asked = fingerprint(placed_tiny), task.forget[:6]
    plain = score(placed_tiny, asked, task).logits
    changed = score(placed_tiny, asked, task, change=make(placed_tiny)).logits
    assert abs(changed - plain).max() > 100 * CLOSE
    assert fingerprint(placed_tiny) == before
    assert (score(placed_tiny, asked, task).logits == plain).all()


@pytest.mark.parametrize(
    ("method", "changes"),
    [("rmu", ("optimizer.steps=6",)), ("npo", ("optimizer.steps=6", "lora.rank=4", "batch=8"))],
)
def test_unlearning_lowers_its_loss(
    placed_tiny: HookedModel, task: Task, method: str, changes: tuple[str, ...]
) -> None:
    entry = find("method", method)
    log = entry.apply_(placed_tiny, task, configured(entry, "organism", changes), Watch())
    assert log.terms["forget"][-1] < 0.999 * log.terms["forget"][0]


def test_relearning_lowers_its_loss(placed_tiny: HookedModel, task: Task) -> None:
    entry, before = find("attack", "relearning_retain"), fingerprint(placed_tiny)
    changes = ("rates=(1e-2,)", "seeds=(0,)", "steps=4", "lora.rank=4")
    config = configured(entry, "organism", changes)
    losses = []

    def watch(model: HookedModel, variant: object, progress: Progress) -> Scored:
        examples = [task.example(q) for q in task.questions("retain", "select")[:16]]
        with torch.no_grad():
            rows = example_rows(model, examples, "answer", 128)
            losses.append(-float(log_likelihoods(model, rows).mean()))
        return Scored(0.0)

    seen = Seen.of(task, entry, config=config, watch=watch, tokenizer=placed_tiny.tokenizer)
    entry.search(placed_tiny, seen, None, config)
    assert losses[-1] < 0.9 * losses[0]
    assert fingerprint(placed_tiny) == before


def test_text_is_that_of_transformers(placed_tiny: HookedModel, device: str, task: Task) -> None:
    """Greedy, from prompts of several lengths that end together."""
    prompts = [task.prompt.text(q, "letter") for q in task.forget[:4]]
    prompts += [q.stem for q in task.forget[:3]]
    rows = placed_tiny.tokenizer(prompts)["input_ids"]
    width, filler = max(map(len, rows)), placed_tiny.tokenizer.pad_token_id
    tokens = torch.tensor([[filler] * (width - len(row)) + row for row in rows], device=device)
    real = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=device)
    ends = [placed_tiny.tokenizer.eos_token_id, filler]
    plain = placed_tiny.original_model
    plain.generation_config = GenerationConfig(
        max_new_tokens=8, do_sample=False, pad_token_id=filler, eos_token_id=ends
    )
    expected = plain.generate(tokens, attention_mask=real)[:, width:].tolist()
    expected = [r[: next((i for i, t in enumerate(r) if t in ends), None)] for r in expected]
    found = continuations(placed_tiny, prompts, Decoding(max_tokens=8))
    assert [own for (own,) in found] == expected


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Refuse that this package's own lines wait for a GPU."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    own = [w for w in told if "synchroniz" in str(w.message) and "mechunlearn" in w.filename]
    assert [f"{w.filename}:{w.lineno}" for w in own] == []


def test_a_batch_waits_for_nothing(placed_tiny: HookedModel, device: str, task: Task) -> None:
    examples = example_rows(placed_tiny, task.examples("forget")[:8], "answer", 128)
    for scoring in ("letter", "cloze"):
        rows, ids = question_rows(placed_tiny.tokenizer, task.forget[:8], task.prompt, scoring)
        read_sums(placed_tiny, rows, [output(placed_tiny)], ids=ids)  # The first one sets up.
        with no_waiting(device):
            read_sums(placed_tiny, rows, [output(placed_tiny)], ids=ids)
    with no_waiting(device):
        log_likelihoods(placed_tiny, examples)


def test_memory_stays_below_the_estimate(device: str, task: Task, words: Path) -> None:
    if device == "cpu":
        pytest.skip("the host's peak is that of all tests: see tests/benchmarks/test_memory.py")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(words)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=1024, intermediate_size=3072, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    plain = AutoModelForCausalLM.from_config(config).to(device)
    model = load(plain, tokenizer)
    expected = peak_memory(Cost(), shape_of(config), sizes_of(task, tokenizer, ("cuda", 4))).total
    torch.cuda.reset_peak_memory_stats()
    score(model, task.forget, task)
    assert torch.cuda.max_memory_allocated() <= expected + WORKSPACE
