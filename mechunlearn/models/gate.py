"""Is a model there, readable, and computed as the plain model computes it?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from mechunlearn.hooks import forward_to, unembed
from mechunlearn.models.checkpoint import read_configuration
from mechunlearn.models.sources import carrier, clear_errors, locate
from mechunlearn.models.tokenizer import check_fit, load_tokenizer
from mechunlearn.types import HookedModel, SelfTest

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""What configurations call the number of a block's experts."""


def check(name: str, original: str = "", *, trust_remote_code: bool = False) -> Any:
    """Make sure that a model is there and readable, without loading its weights.

    Args:
        original: As for ``load``.
        trust_remote_code: As for ``load``.

    Returns:
        The tokenizer.

    Raises:
        ValueError: For an unknown name, a missing or damaged folder, a pickle checkpoint, a
            tokenizer that does not fit.
        PrerequisiteError: When a download or package is needed that is not there.
    """
    location, _ = locate(name)
    base = carrier(name, original)
    with clear_errors(name, location):
        for file in Path(location).glob("*.safetensors"):
            with safe_open(file, framework="pt"):
                pass
    if base != name:
        check(base, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(name, original, trust_remote_code=trust_remote_code)
    shape = configuration(base, trust_remote_code=trust_remote_code)
    check_fit(tokenizer, shape.vocab_size, name)
    return tokenizer


def configuration(name: str, *, trust_remote_code: bool = False) -> Any:
    """The Hugging Face configuration of a model's language part, without its weights.

    Raises:
        ValueError: If it is missing or damaged.
        PrerequisiteError: When a download is needed that is not there.
    """
    name = carrier(name)
    location, extra = locate(name)
    extra.pop("use_safetensors", None)
    with clear_errors(name, location):
        config, _ = read_configuration(location, trust_remote_code=trust_remote_code, **extra)
        return config.get_text_config()


def experts_of(config: Any) -> int:
    """How many experts a block of a mixture has, by a configuration; 0 where blocks are dense."""
    return max((getattr(config, name, None) or 0 for name in EXPERTS), default=0)


def probe(vocabulary: int, device: torch.device) -> list[Int[Tensor, "1 _"]]:
    """Two random token sequences that models are compared on."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, vocabulary, (1, length), generator=generator).to(device)
        for length in (12, 7)
    ]


@torch.no_grad()
def logits_of(model: Any, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
    """Logits of a hooked or a plain model."""
    out = model(tokens)
    return (out if isinstance(out, Tensor) else out.logits).float()


def tolerance_of(dtype: torch.dtype) -> float:
    """Relative difference of logits that the number format explains."""
    return 1e-3 if dtype == torch.float32 else 0.1


def refuse_infinite(logits: Sequence[Tensor], name: str, dtype: torch.dtype) -> None:
    """Make sure that a model computes numbers.

    Raises:
        RuntimeError: If a logit is NaN or infinite, saying how many are.
    """
    bad = sum(int((~x.isfinite()).sum()) for x in logits)
    if bad:
        total = sum(x.numel() for x in logits)
        hint = "try --dtype bfloat16 or float32" if dtype == torch.float16 else "mend its weights"
        raise RuntimeError(
            f"{bad:,} of {total:,} logits of {name} are not finite in {dtype}; {hint}"
        )


def refuse_infinite_weights(plain: PreTrainedModel, name: str) -> None:
    """Make sure that every weight is a number; the probe does not meet every token's row.

    Raises:
        RuntimeError: Naming a tensor with NaN or infinite values.
    """
    for tensor, weight in plain.named_parameters():
        if not weight.is_floating_point() or weight.is_meta or not weight.numel():
            continue
        if not torch.stack(weight.detach().aminmax()).isfinite().all():
            raise RuntimeError(
                f"{tensor} of {name} has values that are not finite in {weight.dtype}; fetch or "
                "save the model again, or try another --dtype"
            )


def difference(ours: Tensor, expected: Tensor) -> float:
    """Length of the difference, as a share of the expected length."""
    return float((ours - expected).norm() / expected.norm())


def larger(one: float, other: float) -> float:
    """The larger of two differences; NaN is larger than anything."""
    return one if one != one or one >= other else other


def self_test(model: HookedModel, expected: list[Float[Tensor, "1 _ vocab"]]) -> SelfTest:
    """Compare hooked logits with the plain model's: alone, padded, read out, after a cache.

    Args:
        expected: The plain model's logits for each probe sequence.

    Raises:
        RuntimeError: When a difference exceeds the tolerance.
    """
    rows = probe(expected[0].shape[-1], expected[0].device)
    batch = rows[0].new_full((len(rows), max(r.shape[1] for r in rows)), 0)
    for i, row in enumerate(rows):
        batch[i, : row.shape[1]] = row
    together = logits_of(model, batch)
    alone, padded, readout, cached = 0.0, 0.0, 0.0, 0.0
    for i, (row, right) in enumerate(zip(rows, expected, strict=True)):
        alone = larger(alone, difference(logits_of(model, row), right))
        padded = larger(padded, difference(together[i, : row.shape[1]], right[0]))
        with torch.no_grad():
            read = unembed(model, forward_to(model, row, model.cfg.n_layers - 1)[0]).float()
            cache, half = DynamicCache(), row.shape[1] // 2
            model(row[:, :half], past_key_values=cache, return_type=None)
            rest = model(row[:, half:], past_key_values=cache).float()
        readout = larger(readout, difference(read, right[0]))
        cached = larger(cached, difference(rest, right[:, half:]))
    tolerance = tolerance_of(next(model.parameters()).dtype)
    result = SelfTest(alone, padded, readout, cached, tolerance)
    # Each by itself: a maximum passes over NaN.
    if not all(x <= tolerance for x in (alone, padded, readout, cached)):
        raise RuntimeError(
            f"the hooked model does not compute what the plain model computes ({result}); "
            "no number from it would be valid"
        )
    return result
