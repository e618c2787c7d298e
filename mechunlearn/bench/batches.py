"""How many rows are computed at once: as many as is fastest and as the memory holds."""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mechunlearn.bench.footprint import widths_of
from mechunlearn.environment import free_memory
from mechunlearn.half import quick_products
from mechunlearn.hooks import foreign_hooks
from mechunlearn.progress import console
from mechunlearn.types import HookedModel

BATCH_NUMBERS = {"cpu": 300_000, "cuda": 60_000_000}
"""Activation numbers (tokens x d_model) per batch: 2,300 tokens at d_model 128 were fastest on a
CPU, as were 500 to 1,000 at 576; 4,000 there are half as fast, since they leave the cache."""
KEPT_BLOCKS = 2
"""With a backward pass, a GPU's batch holds this many blocks' worth of the usual numbers."""
WORTH_SPLITTING = 1 / 10
"""Padding, as a share of the tokens a batch may have, from which on another forward costs less."""
SHARE = {"cpu": 1 / 8, "cuda": 1 / 2}
"""Of the memory that is free when a model is first asked, what a batch's activations may take; on
a CPU other processes want some too."""
TYPICAL_LENGTH = 256
"""Tokens of a row, for the attention scores of a token."""

CONTINUED = 256
"""Texts that are continued at once at most: a step of more takes as much longer."""
CONTINUED_PADDING = 1 / 2
"""As ``WORTH_SPLITTING``: padded keys cost attention only, another batch every step again."""
COPIES = 3
"""Of cached keys and values, while one token is added to them."""
LOGIT_BYTES = 24
"""A token's of the vocabulary, while one is drawn: its logit, probability and their sum."""

_LIMITS: WeakKeyDictionary[HookedModel, dict[bool, int]] = WeakKeyDictionary()
"""Tokens per batch of each model that was asked, without and with a backward pass."""


def token_budget(model: HookedModel, *, backward: bool = False) -> int:
    """Tokens per batch: as many as is fastest, or fewer where the free memory does not hold them.

    The free memory is looked at once per model, so that equal batches are asked for throughout.

    Args:
        backward: Every block's activations are kept.
    """
    limits = _LIMITS.setdefault(model, {})
    if backward not in limits:
        kind = str(model.cfg.device).split(":")[0]
        most = tokens_of(kind, model.cfg.d_model, model.cfg.n_layers if backward else 1)
        limits[backward] = min(most, _room(model, kind, backward))
    return limits[backward]


def generation_budget(model: HookedModel, lengths: Sequence[int], cached: bool) -> int:
    """Tokens of a batch of texts that are being continued, prompts included.

    Args:
        lengths: Tokens of each text when it is finished.
        cached: Keys and values are kept, and a step computes one token a row; otherwise every
            token in every step, as scoring does.
    """
    if not cached:
        return token_budget(model)
    widths, kind = widths_of(model.original_model), str(model.cfg.device).split(":")[0]
    size = next(model.parameters()).element_size()
    kept = COPIES * 2 * widths.d_kv * widths.layers * size
    logits = LOGIT_BYTES * widths.vocabulary // min(lengths)
    free = SHARE.get(kind, SHARE["cuda"]) * free_memory(str(model.cfg.device))
    return max(1, min(CONTINUED * max(lengths), int(free / (kept + logits))))


def _room(model: HookedModel, kind: str, backward: bool) -> int:
    """Tokens whose activations the free memory holds."""
    widths = widths_of(model.original_model)
    numbers = (widths.backward if backward else widths.forward)(TYPICAL_LENGTH)
    free = SHARE.get(kind, SHARE["cuda"]) * free_memory(str(model.cfg.device))
    return max(1, int(free / (numbers * next(model.parameters()).element_size())))


def tokens_of(kind: str, d_model: int, layers: int = 1) -> int:
    """Tokens per batch on a kind of device.

    Args:
        layers: Blocks whose activations are kept for a backward pass.
    """
    numbers = BATCH_NUMBERS.get(kind, BATCH_NUMBERS["cuda"])
    blocks = 1 if kind == "cpu" else max(1, layers // KEPT_BLOCKS)
    return max(128, numbers // blocks // d_model)


def in_batches(
    model: HookedModel,
    lengths: Sequence[int],
    compute: Callable[[list[int]], None],
    budget: int | None = None,
    *,
    backward: bool = False,
    alike: bool = False,
    padding: float = WORTH_SPLITTING,
    undo: Callable[[], None] | None = None,
) -> None:
    """Call ``compute`` with the indices of each batch; out of memory, go on with half the tokens.

    Later batches of the model are smaller too. Under somebody's own hooks (``foreign_hooks``) every
    row is a batch: they may count tokens from the end, where padding would stand, or rows.

    Args:
        lengths: Tokens of each row.
        compute: Leaves nothing behind where it fails, unless ``undo`` is given.
        budget: Tokens per batch; default: ``token_budget``.
        backward: Whether there is a backward pass in it.
        alike: Only rows of one length share a batch, so that nothing is padded.
        padding: As for ``batches``.
        undo: Forgets what all batches left behind; then they are computed from the first on. For
            sums that hooks add to in the middle of a forward.

    Raises:
        torch.OutOfMemoryError: (or RuntimeError) If a single row is too much.
    """
    limit = budget or token_budget(model, backward=backward)
    everything = list(range(len(lengths)))
    cut = partial(_parts, lengths, alike=alike, padding=padding)
    waiting = [[i] for i in everything] if foreign_hooks(model) else cut(everything, limit)

    def run() -> None:
        while waiting:
            compute(waiting[0])
            del waiting[0]

    def smaller() -> str:
        nonlocal limit
        batch = waiting[0]
        if len(batch) == 1:
            return ""
        limit = max(1, min(limit, max(lengths[i] for i in batch) * len(batch)) // 2)
        lower_budget(model, limit, backward=backward)
        rest = everything if undo else [i for part in waiting for i in part]
        waiting[:] = cut(rest, limit)
        if undo:
            undo()
        return f"{limit} tokens a batch"

    halving(run, smaller, next(model.parameters()))


def _parts(
    lengths: Sequence[int], which: Sequence[int], limit: int, alike: bool, padding: float
) -> list[list[int]]:
    """Batches of some of the rows."""
    groups: dict[int, list[int]] = {}
    for i in which:
        groups.setdefault(lengths[i] if alike else 0, []).append(i)
    return [
        [group[j] for j in part]
        for group in groups.values()
        for part in batches([lengths[i] for i in group], limit, padding)
    ]


def halving(compute: Callable[[], None], smaller: Callable[[], str], weight: Tensor) -> None:
    """Run something; out of memory, run it again in a smaller way, as often as there is one.

    Args:
        compute: Begins anew, or goes on where it was.
        smaller: Makes the next try smaller and says how; the empty string where that cannot be:
            then the error goes on.
        weight: One of the model's, whose kind the products are of; see ``quick_products``.
    """
    while True:
        try:
            with quick_products(weight):
                return compute()
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError.
            if not out_of_memory(error) or not (how := smaller()):
                raise
        # Outside the handler: the error's traceback holds the tensors of the failed batch.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        console.print(f"[yellow]out of memory; going on with {how}[/yellow]")


def lower_budget(model: HookedModel, limit: int, *, backward: bool = False) -> None:
    """Let no later batch of a model have more tokens."""
    now = token_budget(model, backward=backward)
    _LIMITS[model][backward] = min(limit, now)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the host, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or ("DefaultCPUAllocator" in text and "allocate" in text)
    )


def batches(
    lengths: Sequence[int], budget: int, padding: float = WORTH_SPLITTING
) -> Iterator[list[int]]:
    """Indices of rows of similar length, at most ``budget`` padded tokens a batch.

    Args:
        padding: Share of the budget that saved padding has to exceed for one batch more.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield from _split(batch, lengths, padding * budget)
            batch = []
        batch.append(i)
    if batch:
        yield from _split(batch, lengths, padding * budget)


def own_batches(model: HookedModel, lengths: Sequence[int]) -> Iterator[list[int]]:
    """As ``batches``, of the model's usual size; every row by itself under somebody's own hooks."""
    if foreign_hooks(model):
        yield from ([i] for i in range(len(lengths)))
    else:
        yield from batches(lengths, token_budget(model))


def _split(batch: list[int], lengths: Sequence[int], worth: float) -> Iterator[list[int]]:
    """The batch, longest rows first, in parts where that saves enough padding."""
    longest, n = lengths[batch[0]], len(batch)
    at = max(range(n), key=lambda i: (longest - lengths[batch[i]]) * (n - i))
    if (longest - lengths[batch[at]]) * (n - at) > worth:
        yield from _split(batch[:at], lengths, worth)
        yield from _split(batch[at:], lengths, worth)
    else:
        yield batch
