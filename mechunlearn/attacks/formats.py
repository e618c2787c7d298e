"""Number formats in which models are served, as the numbers that come out of them again.

Each function takes a weight ``[out, in]`` and gives it as it is after storing and reading back, in
its own type. What a format's kernels do to activations is not simulated.

    block formats:   w -> s code(w / s),      s = the largest abs(w) of a block

Reference:
    NF4, FP4: Dettmers et al. 2023, QLoRA, arXiv:2305.14314, and bitsandbytes' code books and blocks
    of 64; INT8: Dettmers et al. 2022, arXiv:2208.07339 (rows, without the outlier columns, which
    depend on activations); 2:4: Mishra et al. 2021, arXiv:2104.08378; ``q8_0`` to ``q4_k`` are
    llama.cpp's formats, as the ``gguf`` package reads them.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

Weight = Float[Tensor, "out in"]
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of a normal distribution; the published values."""
FP4 = tuple(x / 12 for x in (-12, -8, -6, -4, -3, -2, -0.0625, 0, 0.0625, 2, 3, 4, 6, 8, 12))
"""A sign, two bits of exponent, one of mantissa."""
BLOCK = 64
GROUP = 128
"""Inputs that share a step of ``int4_groups``."""
INT8_STEP = 7.874015718698502e-3
"""1 / 127 in float32, as bitsandbytes multiplies."""
SUPER = 256
"""Weights of a super-block of ``q4_k``."""


def in_blocks(weight: Weight, size: int) -> Float[Tensor, "block size"]:
    """All weights in order, in float32; the last block is filled with zeros."""
    flat = weight.float().flatten()
    return torch.nn.functional.pad(flat, (0, -flat.numel() % size)).view(-1, size)


def as_weight(blocks: Float[Tensor, "block size"], weight: Weight) -> Weight:
    """Blocks as the weight that they are of."""
    return blocks.flatten()[: weight.numel()].view_as(weight).to(weight.dtype)


def by_code_book(weight: Weight, book: tuple[float, ...]) -> Weight:
    """The nearest value of a code book, times the largest of its block of 64."""
    code = torch.tensor(book, dtype=torch.float32, device=weight.device)
    blocks = in_blocks(weight, BLOCK)
    largest = blocks.abs().amax(-1, keepdim=True)
    scaled = blocks / largest.clamp_min(torch.finfo(torch.float32).tiny)
    return as_weight(code[torch.bucketize(scaled, (code[1:] + code[:-1]) / 2)] * largest, weight)


def int8_rows(weight: Weight) -> Weight:
    """127 steps to the largest of each row."""
    full = weight.float()
    largest = full.abs().amax(-1, keepdim=True)
    codes = (full * (127 / largest.where(largest > 0, 1.0))).round()
    return (codes * largest * INT8_STEP).to(weight.dtype)


def int4_groups(weight: Weight) -> Weight:
    """16 steps from the smallest to the largest of each group of inputs, zero among them."""
    size = GROUP if weight.shape[1] % GROUP == 0 else weight.shape[1]
    groups = weight.float().unflatten(1, (-1, size))
    low, high = groups.amin(-1, keepdim=True).clamp_max(0), groups.amax(-1, keepdim=True)
    step = ((high.clamp_min(0) - low) / 15).clamp_min(torch.finfo(torch.float32).tiny)
    zero = (-low / step).round()
    codes = ((groups / step).round() + zero).clamp(0, 15)
    return ((codes - zero) * step).flatten(1).to(weight.dtype)


def q8_0(weight: Weight) -> Weight:
    """Blocks of 32 with a scale in float16; halves are rounded away from zero."""
    blocks = in_blocks(weight, 32)
    step = blocks.abs().amax(-1, keepdim=True) / 127
    scaled = blocks * torch.where(step == 0, step, 1 / step)
    codes = scaled.sign() * (scaled.abs() + 0.5).floor()
    return as_weight(codes * step.half().float(), weight)


def _signed(weight: Weight, steps: int) -> Weight:
    """Blocks of 32; the weight that is largest in size becomes ``-steps`` exactly."""
    blocks = in_blocks(weight, 32)
    largest = blocks.gather(1, blocks.abs().argmax(-1, keepdim=True))
    step = largest / -steps
    scaled = blocks * torch.where(step == 0, step, 1 / step)
    codes = (scaled + (steps + 0.5)).trunc().clamp(0, 2 * steps - 1) - steps
    return as_weight(codes * step.half().float(), weight)


def q4_0(weight: Weight) -> Weight:
    """Four bits, symmetric, blocks of 32."""
    return _signed(weight, 8)


def q5_0(weight: Weight) -> Weight:
    """Five bits, symmetric, blocks of 32."""
    return _signed(weight, 16)


def q4_k(weight: Weight) -> Weight:
    """Four bits in blocks of 32 with a scale and a minimum, which have six bits in blocks of 256.

    Rows that blocks of 256 do not divide are stored in ``q5_0``, as llama.cpp does.
    """
    if weight.shape[1] % SUPER:
        return q5_0(weight)
    codes, scales, lows, steps = q4_k_codes(weight)
    numbers = steps[:, :1, None] * scales[..., None] * codes - steps[:, 1:, None] * lows[..., None]
    return as_weight(numbers.flatten(1), weight)


def q4_k_codes(
    weight: Weight,
) -> tuple[
    Float[Tensor, "super 8 32"],
    Float[Tensor, "super 8"],
    Float[Tensor, "super 8"],
    Float[Tensor, "super 2"],
]:
    """What is stored of a weight: codes, scales and minima of six bits, and their float16 steps."""
    blocks = in_blocks(weight, SUPER).view(-1, 8, 32)
    scale, low = _fitted(blocks)
    steps = torch.stack([scale.amax(-1), low.amax(-1)], dim=-1) / 63
    inverse = torch.where(steps > 0, 1 / steps, torch.zeros_like(steps))
    scales = (scale * inverse[:, :1]).round().clamp(0, 63)
    lows = (low * inverse[:, 1:]).round().clamp(0, 63)
    steps = steps.half().float()
    step, minimum = (steps[:, :1] * scales)[..., None], (steps[:, 1:] * lows)[..., None]
    codes = torch.where(step > 0, ((blocks + minimum) / step).round().clamp(0, 15), 0.0)
    return codes, scales, lows, steps


def _fitted(
    blocks: Float[Tensor, "super 8 32"],
) -> tuple[Float[Tensor, "super 8"], Float[Tensor, "super 8"]]:
    """Scale and negative minimum of each block with the least weighted squared error.

    Of 21 roundings of the block to 16 steps, each with the line through it that fits best; larger
    weights count more.
    """
    w = blocks.abs() + blocks.square().mean(-1, keepdim=True).sqrt()
    low = blocks.amin(-1, keepdim=True).clamp_max(0)
    span = (blocks.amax(-1, keepdim=True) - low).clamp_min(torch.finfo(torch.float32).tiny)
    sum_w, sum_x = w.sum(-1), (w * blocks).sum(-1)
    best_scale, best_low = (span / 15)[..., 0], low[..., 0]
    codes = ((blocks - low) * (15 / span)).round().clamp(0, 15)
    best = (w * (codes * span / 15 + low - blocks).square()).sum(-1)
    for k in range(21):
        codes = ((blocks - low) * ((14 + 0.1 * k) / span)).round().clamp(0, 15)
        sum_c, sum_cc = (w * codes).sum(-1), (w * codes.square()).sum(-1)
        sum_xc = (w * blocks * codes).sum(-1)
        determinant = sum_w * sum_cc - sum_c.square()
        usable = determinant > 0
        safe = torch.where(usable, determinant, torch.ones_like(determinant))
        scale = (sum_w * sum_xc - sum_x * sum_c) / safe
        start = (sum_cc * sum_x - sum_c * sum_xc) / safe
        through_zero = sum_xc / sum_cc.clamp_min(torch.finfo(torch.float32).tiny)
        scale = torch.where(start > 0, through_zero, scale)
        start = start.clamp_max(0)
        error = (w * (codes * scale[..., None] + start[..., None] - blocks).square()).sum(-1)
        better = usable & (error < best)
        best = torch.where(better, error, best)
        best_scale = torch.where(better, scale, best_scale)
        best_low = torch.where(better, start, best_low)
    return best_scale, -best_low


def two_of_four(weight: Weight) -> Weight:
    """Of every four inputs in a row the two smallest are 0; what four do not divide stays."""
    whole = weight.shape[1] - weight.shape[1] % 4
    fours = weight[:, :whole].unflatten(1, (-1, 4))
    smallest = fours.abs().argsort(dim=-1, stable=True)[..., :2]
    return torch.cat([fours.scatter(-1, smallest, 0.0).flatten(1), weight[:, whole:]], dim=1)


def without_smallest(weight: Weight, share: float) -> Weight:
    """A share of the matrix, the smallest weights, is 0."""
    n = int(share * weight.numel())
    flat = weight.flatten().clone()
    flat[flat.abs().argsort(stable=True)[:n]] = 0.0
    return flat.view_as(weight)


FORMATS: Mapping[str, Callable[[Weight], Weight]] = {
    "nf4": lambda w: by_code_book(w, NF4),
    "fp4": lambda w: by_code_book(w, FP4),
    "int8": int8_rows,
    "int4_groups": int4_groups,
    "q8_0": q8_0,
    "q5_0": q5_0,
    "q4_0": q4_0,
    "q4_k": q4_k,
    "2:4": two_of_four,
    "magnitude_30": lambda w: without_smallest(w, 0.3),
    "magnitude_50": lambda w: without_smallest(w, 0.5),
}
"""By name; the last three are sparse."""
