"""Set-difference pruning: the masks are the definition, and weights come back bit for bit."""

from collections.abc import Callable, Iterator

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.edits import Write, written
from mechunlearn.attacks.equal_size import moved
from mechunlearn.attacks.pruning import prune_units, prune_weights, ranks, set_difference, zeroed
from mechunlearn.attacks.set_difference_pruning import (
    HEADS,
    NEURONS,
    WEIGHTS,
    PruningConfig,
    PruningSearch,
    SetDifferencePruning,
    Shares,
)
from mechunlearn.bench import score
from mechunlearn.models import fingerprint
from mechunlearn.types import HookedModel, Score, Task

LEVELS = (0.05, 0.1, 0.25)


def top(scores: torch.Tensor, share: float) -> set[int]:
    count = -(-int(share * 1000) * scores.numel() // 1000)
    return set(scores.flatten().argsort(descending=True)[:count].tolist())


def test_masks_are_set_differences_of_top_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    forget, utility = torch.rand(2, 20, 30, generator=generator)
    (f,), (u,) = ranks([forget], LEVELS), ranks([utility], LEVELS)
    for p, share_p in enumerate(LEVELS):
        for q, share_q in enumerate(LEVELS):
            mask = set_difference(f, u, p, q)
            expected = top(forget, share_q) - top(utility, share_p)
            assert set(mask.flatten().nonzero()[:, 0].tolist()) == expected


def test_unscored_entries_belong_to_no_share() -> None:
    scores = torch.zeros(10, 10)
    scores[0, :3] = torch.tensor([3.0, 2.0, 1.0])
    (found,) = ranks([scores], (0.02, 0.5))
    assert found[0, :3].tolist() == [0, 0, 1]
    assert (found.flatten()[3:] == 2).all()


def test_shares_over_several_tensors_are_of_all_together() -> None:
    high, low = ranks([torch.full((5,), 9.0), torch.full((5,), 1.0)], (0.5,))
    assert high.tolist() == [0] * 5
    assert low.tolist() == [1] * 5


def test_pruned_weights_are_zero_and_come_back(any_tiny: HookedModel) -> None:
    weight = any_tiny.blocks[1].mlp.out.original_component.weight
    mask = torch.zeros_like(weight, dtype=torch.bool)
    mask[0, :5] = True
    before, tokens = fingerprint(any_tiny), torch.tensor([[5, 6, 7, 8]])
    logits = any_tiny(tokens)
    with prune_weights({(1, "out"): mask}).on(any_tiny):
        assert (weight[0, :5] == 0).all()
        assert not torch.allclose(any_tiny(tokens), logits)
    assert fingerprint(any_tiny) == before
    assert torch.equal(any_tiny(tokens), logits)


def test_pruned_heads_write_nothing(any_tiny: HookedModel) -> None:
    """Control by weights: the head's rows of the output matrix set to zero."""
    n, width = any_tiny.cfg.n_heads, any_tiny.cfg.d_model // any_tiny.cfg.n_heads
    mask = torch.zeros(any_tiny.cfg.n_layers, n, dtype=torch.bool)
    mask[1, 2] = True
    tokens = torch.tensor([[5, 6, 7, 8]])
    module = any_tiny.blocks[1].attn.o.original_component
    rows = torch.zeros_like(module.weight, dtype=torch.bool)
    inputs = rows if isinstance(module, torch.nn.Linear) else rows.T
    inputs[:, 2 * width : 3 * width] = True
    with prune_units(mask, "head").on(any_tiny):
        hooked = any_tiny(tokens)
    with prune_weights({(1, "o"): rows}).on(any_tiny):
        assert torch.allclose(any_tiny(tokens), hooked, atol=1e-4)


def margin(score: Score) -> float:
    """Mean lead of the right answer's logit over the mean of all."""
    right = score.logits[range(score.n), score.answers]
    return float((right - score.logits.mean(axis=1)).mean())


@pytest.mark.ci
@pytest.mark.parametrize("attack", [WEIGHTS, NEURONS, HEADS], ids=lambda a: a.grain)
def test_the_attack_and_its_sham_move_the_states_as_far(
    attack: SetDifferencePruning, organism: HookedModel, task: Task
) -> None:
    config = PruningConfig(levels=LEVELS, examples=24)
    before = fingerprint(organism)
    search = attack.search(organism, Seen.of(task, attack), None, config)
    assert fingerprint(organism) == before
    (variants,) = search.variants()
    assert all(v.p >= v.q for v in variants)
    variant = Shares("forget corpus", 0.05, 0.25, "zero")
    (trace,) = search.traces(variant)
    size = sum(int(m.sum()) for _, m in search.masks(variant))
    assert size == sum(trace.pruned) > 0
    assert trace.grain == attack.grain
    some = task.questions("forget", "confirm")[:60]
    changes = [search.change(variant), *(search.sham(variant, seed) for seed in (1, 1, 2))]
    far = [moved(organism, change, search.texts) for change in changes]
    assert far[0] > 0
    assert far[1:] == pytest.approx([far[0]] * 3, rel=0.3 if attack.grain == "head" else 0.05)
    results = [score(organism, some, task.prompt, change=change) for change in changes]
    assert (results[1].logits == results[2].logits).all()
    assert (results[1].logits != results[3].logits).any()
    if attack.grain != "head":  # There are 16: chance may draw the very same.
        margins = [margin(r) for r in results]
        assert margins[0] < min(margins[1:])  # What the facts need, and nothing else.
    assert fingerprint(organism) == before


def test_shares_that_leave_nothing_change_nothing(any_tiny: HookedModel) -> None:
    """Of the model itself, such as one asked few questions, or of another."""
    rank = torch.zeros(2, 4, dtype=torch.uint8)
    ranked = {(-1, "head"): rank}
    search = PruningSearch("head", LEVELS, {"own answers": ranked}, ranked, {}, any_tiny, [])
    for shares in (*search.grid(), Shares("own answers", 0.1, 0.1, "zero")):
        assert not search.change(shares).changes_model
        assert not search.sham(shares, 0).changes_model


def test_an_error_at_the_second_matrix_restores_the_first(any_tiny: HookedModel) -> None:
    keys = [(0, "out"), (1, "out")]
    weights = [any_tiny.blocks[i].mlp.out.original_component.weight for i, _ in keys]
    before = fingerprint(any_tiny)

    def masks() -> Iterator[tuple[tuple[int, str], torch.Tensor]]:
        yield keys[0], torch.ones_like(weights[0], dtype=torch.bool)
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"), zeroed(masks, "pruned").on(any_tiny):
        pass
    assert fingerprint(any_tiny) == before
    wrong = {
        key: torch.ones_like(w, dtype=torch.bool) for key, w in zip(keys, weights, strict=True)
    }
    wrong[keys[1]] = wrong[keys[1]][:-1]
    with pytest.raises(IndexError), prune_weights(wrong).on(any_tiny):
        pass
    assert fingerprint(any_tiny) == before


def test_a_write_that_fails_is_undone_with_those_before_it() -> None:
    weights = [torch.arange(6.0).view(2, 3) for _ in range(3)]
    before = [w.clone() for w in weights]
    mask = torch.tensor([[True, False, True], [False, True, False]])

    def writes(values: torch.Tensor) -> Callable[[], Iterator[Write]]:
        return lambda: ((w, mask, v) for w, v in zip(weights, (9.0, values, 9.0), strict=True))

    with pytest.raises(RuntimeError, match="shape mismatch"), written(writes(torch.ones(2))):
        raise AssertionError("must not be entered")
    assert all(map(torch.equal, weights, before))
    with written(writes(torch.ones(3))):
        assert weights[0][mask].tolist() == [9.0] * 3
        assert weights[1][mask].tolist() == [1.0] * 3
    assert all(map(torch.equal, weights, before))


def test_mistakes_are_told(tiny: Callable[[str], HookedModel]) -> None:
    for levels in ((0.0,), (0.5, 1.5), (0.2, 0.1), ()):
        with pytest.raises(ValueError, match="levels"):
            PruningConfig(levels=levels)
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        ranks([torch.ones(3)], (2.0,))
    with pytest.raises(ValueError, match="raise q"):
        prune_weights({(0, "out"): torch.zeros(2, 2, dtype=torch.bool)})
    with pytest.raises(ValueError, match="raise q"):
        prune_units(torch.zeros(2, 2, dtype=torch.bool), "neuron")
