"""Directions from differences of mean activations: where unlearning pushed the forget questions.

    d_l = mean_t h_l(forget; unlearned) - mean_t h_l(other)         after every block l

``direction_ablation`` takes them out at blocks, ``ablation_search`` from attentions and MLPs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from mechunlearn.attacks.activations import (
    Statistics,
    activation_statistics,
    first_component,
    outlier_tokens,
)
from mechunlearn.attacks.seen import Seen
from mechunlearn.models import block_fingerprints
from mechunlearn.types import Direction, HookedModel

Source = Literal["original", "benign", "text", "pca"]
SOURCES: tuple[Source, ...] = get_args(Source)
"""What forget activations are compared with."""
RESERVOIR = 1000
"""Tokens per model kept for the principal component."""
NO_DIRECTION = 1e-4
"""Share of the longest layer's vector below which a layer counts as having none."""


@dataclass(frozen=True, slots=True)
class Original:
    """What has to be known of the original model."""

    statistics: Statistics
    blocks: list[str]
    """A digest of each block, to see which of them unlearning edited."""
    outliers: frozenset[int]


def original_means(
    original: HookedModel, seen: Seen, *, published: bool = False, keep: int = RESERVOIR
) -> Original:
    """Mean activations of the original, and a digest of each block to see what was edited.

    Args:
        published: Whether outliers are those of benign questions, too.
        keep: Tokens that are kept for a principal component.
    """
    texts = [seen.text(q) for q in seen.asked]
    outliers = outlier_tokens(original, texts)
    if published:
        outliers |= outlier_tokens(original, [seen.text(q) for q in seen.retain])
    statistics = activation_statistics(original, texts, drop=outliers, keep=keep)
    return Original(statistics, block_fingerprints(original), outliers)


def measured_directions(
    model: HookedModel,
    seen: Seen,
    reference: Original,
    sources: Sequence[Source] = SOURCES,
    *,
    published: bool = False,
) -> dict[str, Direction]:
    """Where the forget activations lie, seen from what they are compared with, at every layer.

    Args:
        sources: What they are compared with; ``text`` is left out where there is none.
        published: Whether of other texts all tokens count.

    Returns:
        By source; each has the mean activations of what it was taken against.
    """
    drop, mean = reference.outliers, partial(activation_statistics, whole=published)
    texts = [seen.text(q) for q in seen.asked]
    component = "pca" in sources
    forget = activation_statistics(model, texts, drop=drop, keep=RESERVOIR if component else 0)
    means = {"original": reference.statistics.mean, "pca": reference.statistics.mean}
    if "benign" in sources:
        means["benign"] = mean(model, [seen.text(q) for q in seen.retain], drop=drop).mean
    if "text" in sources and seen.plain_text:
        plain = seen.plain_text[: len(texts)] if published else seen.plain_text
        means["text"] = mean(model, plain, drop=drop).mean
    vectors = {name: forget.mean - means[name] for name in sources if name in means}
    if component:
        first = first_component(reference.statistics.reservoir, forget.reservoir)
        towards = (first * vectors["pca"]).sum(dim=-1, keepdim=True)
        vectors["pca"] = first * towards.sign()  # Its sign is arbitrary; unlearned is up.
    layers = tuple(range(model.cfg.n_layers))
    return {
        name: Direction(f"{name} direction", layers, v.float(), means[name].float())
        for name, v in vectors.items()
    }
