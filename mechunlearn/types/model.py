"""The hooked model that everything here works on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Relative difference of the hooked model's logits from the plain model's on a probe.

    ``|hooked - plain| / |plain|`` over all positions and tokens; the largest of the sequences.
    """

    alone: float
    """Each sequence by itself."""
    padded: float
    """The same sequences in one right-padded batch, at their real positions."""
    readout: float
    """Final norm and unembedding applied to the last block's output, as all scoring does."""
    cached: float
    """The second half of each sequence, after keys and values of the first."""
    tolerance: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a loaded model came from and how its self-test went."""

    name: str
    location: str
    architecture: str
    dtype: str
    device: str
    self_test: SelfTest


if TYPE_CHECKING:

    class ModelConfig:
        """Sizes of a model."""

        n_layers: int
        n_heads: int
        d_model: int
        d_mlp: int
        d_head: int
        d_vocab: int
        n_ctx: int
        """Longest sequence in tokens; 0 where there is no limit."""
        device: str
        gated_mlp: bool
        tokenizer_prepends_bos: bool
        default_prepend_bos: bool

    class Component(torch.nn.Module):
        """TransformerLens' wrapper of one module of the Hugging Face model."""

        original_component: Any

    class AttentionBridge(Component):
        """Its query, key and value maps have other names by architecture."""

        o: Component

    class MLPBridge(Component):
        """So have its input maps."""

        out: Component

    class Block(Component):
        """One layer."""

        attn: AttentionBridge
        mlp: MLPBridge

    class HookedModel:
        """What this package uses of TransformerLens' bridge, for type checkers."""

        cfg: ModelConfig
        tokenizer: Any
        original_model: Any
        provenance: Provenance
        blocks: Sequence[Block]
        embed: Component
        pos_embed: Component
        unembed: Component
        ln_final: Component
        hook_dict: Mapping[str, object]
        _tokenizer: Any

        def __call__(
            self,
            tokens: Tensor,
            *,
            stop_at_layer: int | None = None,
            return_type: str | None = "logits",
            past_key_values: Any = None,
            attention_mask: Any = None,
            position_ids: Tensor | None = None,
        ) -> Tensor:
            """Logits, or the stream before ``stop_at_layer``."""
            ...

        def hooks(
            self, fwd_hooks: Sequence[tuple[str, Callable[..., Any]]]
        ) -> AbstractContextManager[object]:
            """Hooks by the name of their point, inside a ``with`` block."""
            ...

        def parameters(self) -> Iterator[torch.nn.Parameter]: ...  # noqa: D102
        def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...  # noqa: D102
        def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]: ...  # noqa: D102
        def modules(self) -> Iterator[torch.nn.Module]: ...  # noqa: D102
        def eval(self) -> "HookedModel": ...  # noqa: D102
        def requires_grad_(self, requires_grad: bool = True) -> "HookedModel": ...  # noqa: D102

else:
    HookedModel = TransformerBridge
    """TransformerLens' hooked transformer; before version 4 it was called ``HookedTransformer``."""
