"""Every loop that runs batches goes on with half of one where the memory is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mechunlearn.attacks.activations import activation_statistics, outlier_tokens
from mechunlearn.attacks.attribution import unit_means, unit_scores, weight_scores
from mechunlearn.attacks.gcg.forward import Forwards
from mechunlearn.attacks.gcg.objective import Objective
from mechunlearn.attacks.gcg.problem import Item, Problem, Slot
from mechunlearn.attacks.logit_lens import answer_ranks, logit_lens
from mechunlearn.attacks.perturbation_informed import Informed, split_token
from mechunlearn.bench import batches as sizing
from mechunlearn.bench import perplexity, score
from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.hooks import live_parameters
from mechunlearn.train import Optimizer, Share, fit
from mechunlearn.types import HookedModel, Task

FULL = "CUDA out of memory. Tried to allocate 2 GiB"
Numbers = list[np.ndarray]


@contextmanager
def room_for(model: HookedModel, tokens: int, *, backward: bool = False) -> Iterator[list[int]]:
    """Memory for so many tokens: the last block fails on more, when all others have run.

    Args:
        backward: Only the backward pass fails, in the middle.

    Returns:
        How many tokens each forward had that came through.
    """
    fits: list[int] = []

    def fail(gradient: torch.Tensor) -> None:
        raise torch.OutOfMemoryError(FULL)

    def enter(module: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        n = args[0].shape[0] * args[0].shape[1]
        if n > tokens and not backward:
            raise torch.OutOfMemoryError(FULL)
        if n > tokens and args[0].requires_grad:
            args[0].register_hook(fail)
        fits.append(n)

    enter.__module__ = "torch.cuda"  # It stands for the device, and is no hook of a user's.
    handle = model.blocks[-1].original_component.register_forward_pre_hook(enter)
    try:
        yield fits
    finally:
        handle.remove()


def problem() -> Problem:
    items = tuple(Item((2, 7, 9), (11 + i, 5), (20 + i, 21), 1) for i in range(6))
    words = tuple(str(i) for i in range(6))
    return Problem(Slot("prefix", " "), words, items, tuple(i.target[0] for i in items))


def candidates(model: HookedModel, task: Task) -> Numbers:
    children = [(30, 31, 32 + i) for i in range(12)]
    return [Forwards(model, problem(), Objective()).losses((30, 31, 40), children, range(6))]


def gradient(model: HookedModel, task: Task) -> Numbers:
    return [Forwards(model, problem(), Objective()).gradient((30, 31, 40), range(6)).numpy()]


def attribution(kind: str) -> Callable[[HookedModel, Task], Numbers]:
    def numbers(model: HookedModel, task: Task) -> Numbers:
        rows = example_rows(model, task.examples("forget")[:12], "answer", 64)
        if kind == "neurons":
            return [unit_scores(model, rows, "neuron").numpy()]
        if kind == "means":
            return [x.numpy() for x in unit_means(model, rows, "head").values()]
        return [x.numpy() for x in weight_scores(model, rows, kind).values()]

    return numbers


def statistics(model: HookedModel, task: Task) -> Numbers:
    found = activation_statistics(model, [q.stem for q in task.forget[:24]], whole=True)
    return [found.mean.numpy()]


def lens(model: HookedModel, task: Task) -> Numbers:
    questions = task.forget[:24]
    ranks = answer_ranks(model, questions, task).values()
    return [s.logits for s in logit_lens(model, questions, task).values()] + list(ranks)


def informed(model: HookedModel, task: Task) -> Numbers:
    rewrite = Informed(split_token, 0, layer=2, direction=torch.arange(32.0))
    return [np.array(c) for c in rewrite.cosines(model, [q.stem for q in task.forget[:24]])]


def training(model: HookedModel, task: Task) -> Numbers:
    rows = example_rows(model, task.examples("forget")[:8], "answer", 64)

    def loss(step: int, share: Share) -> dict[str, torch.Tensor]:
        return {"a": -log_likelihoods(model, share(rows)).sum() / len(rows)}

    parameters = live_parameters(model)
    before = [p.detach().clone() for p in parameters]
    log = fit(parameters, loss, Optimizer(2, 1e-3), label="x")
    with torch.no_grad():
        for p, b in zip(parameters, before, strict=True):
            p.copy_(b)
    return [np.array(log.terms["a"])]


LOOPS: dict[str, Callable[[HookedModel, Task], Numbers]] = {
    "scoring": lambda m, t: [score(m, t.forget[:24], t.prompt).logits],
    "cloze": lambda m, t: [score(m, t.forget[:24], t.prompt, scoring="cloze").logits],
    "perplexity": lambda m, t: [np.array(perplexity(m, t.retain_text[:24]).nats_per_token)],
    "generation": lambda m, t: [
        np.array(row)
        for (row,) in continuations(m, [q.stem for q in t.forget[:24]], Decoding(max_tokens=3))
    ],
    "snip": attribution("snip"),
    "wanda": attribution("wanda"),
    "neurons": attribution("neurons"),
    "means": attribution("means"),
    "statistics": statistics,
    "outliers": lambda m, t: [np.array(sorted(outlier_tokens(m, [q.stem for q in t.forget[:40]])))],
    "lens": lens,
    "informed": informed,
    "candidates": candidates,
    "gradient": gradient,
    "training": training,
}
DIFFERENTIATED = ("snip", "neurons", "gradient", "training")


@pytest.mark.ci
@pytest.mark.parametrize("loop", LOOPS)
def test_out_of_memory_halves_the_batch_and_gives_the_same_numbers(
    tiny: Callable[[str], HookedModel],
    task: Task,
    capsys: pytest.CaptureFixture[str],
    loop: str,
) -> None:
    for backward in (False, True) if loop in DIFFERENTIATED else (False,):
        model = tiny("llama")
        with room_for(model, 10**9) as whole:
            right = LOOPS[loop](model, task)
        assert "out of memory" not in capsys.readouterr().err
        room = max(whole) // (2 if loop == "gradient" else 3)  # Its rows hold several questions.
        model = tiny("llama")
        with room_for(model, room, backward=backward) as parts:
            found = LOOPS[loop](model, task)
        text = " ".join(capsys.readouterr().err.split())
        assert 1 <= text.count("out of memory; going on with") <= 4
        assert backward or max(parts) <= room
        assert len(found) == len(right)
        for ours, expected in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loop", ["scoring", "snip", "candidates"])
def test_memory_too_small_for_one_row_is_an_error(
    tiny: Callable[[str], HookedModel], task: Task, loop: str
) -> None:
    model = tiny("llama")
    with room_for(model, 2), pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        LOOPS[loop](model, task)


def test_later_batches_stay_small_and_other_errors_go_on(
    tiny: Callable[[str], HookedModel],
) -> None:
    model = tiny("llama")
    before, sizes = sizing.token_budget(model), []

    def compute(batch: list[int]) -> None:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    sizing.in_batches(model, [10] * 8, compute)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert sizing.token_budget(model) == 20 < before
    assert sizing.token_budget(model, backward=True) > 20  # Another kind of batch.

    def fail(batch: list[int]) -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        sizing.in_batches(model, [3, 3], fail, 6)
