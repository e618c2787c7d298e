"""Scores of many changes that act from some block on: the blocks before are computed once."""

import dataclasses
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch

from mechunlearn.bench import score
from mechunlearn.bench.batches import SHARE
from mechunlearn.environment import free_memory
from mechunlearn.hooks import Beginnings, Later, begun, foreign_hooks, unchanged_blocks, unmetered
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Question, Score, Task

WORTH = 1.5
"""Forwards that have to be saved; keeping the beginnings takes one."""
_ALLOWED: WeakKeyDictionary[HookedModel, bool] = WeakKeyDictionary()
"""Whether beginning later gave a model the same answers as whole forwards."""


def score_each(
    model: HookedModel, changes: Sequence[Change], questions: Sequence[Question], task: Task
) -> list[Score]:
    """The answers under each change, as ``score`` gives them.

    Where hooks alone change the model, and from some block on, a forward begins there; the first
    time that is compared with a whole forward. Arithmetic is counted as that of whole forwards.
    Under somebody's own hooks, which would see blocks that are left out, every forward is whole.
    """
    first = [_unchanged(change) for change in changes]
    starts = sorted({n for n in first if n})
    if (
        not starts
        or sum(first) < WORTH * model.cfg.n_layers  # Too little would be saved.
        or not _ALLOWED.get(model, True)
        or foreign_hooks(model)
    ):
        return [score(model, questions, task, change=change) for change in changes]
    kept = Beginnings(starts, _room(model))
    with unmetered(), begun(kept):
        score(model, questions, task, change=NO_CHANGE)
    scores: list[Score] = []
    for change, n in zip(changes, first, strict=True):
        scores.append(_from(kept.before(n), kept, model, change, questions, task))
    return scores


def _from(
    n: int,
    kept: Beginnings,
    model: HookedModel,
    change: Change,
    questions: Sequence[Question],
    task: Task,
) -> Score:
    if not n or not _ALLOWED.get(model, True):
        return score(model, questions, task, change=change)
    with begun(Later(kept, n)):
        found = score(model, questions, task, change=change)
    if model not in _ALLOWED:
        with unmetered():
            whole = score(model, questions, task, change=change)
        _ALLOWED[model] = same_answers(found, whole)
        return whole
    return found


def same_answers(one: Score, other: Score) -> bool:
    """Whether two scores are those of one computation."""
    a, b = (torch.from_numpy(s.logits).nan_to_num() for s in (one, other))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def _unchanged(change: Change) -> int:
    """How many blocks compute under a change what they compute without."""
    plain = dataclasses.replace(change, hooks=())
    if not change.hooks or change.sequence or plain != Change(change.name):
        return 0
    return min(unchanged_blocks(hook.place) for hook in change.hooks)


def _room(model: HookedModel) -> float:
    device = str(model.cfg.device)
    return SHARE.get(device.split(":")[0], SHARE["cuda"]) * free_memory(device)
