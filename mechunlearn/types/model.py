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
class Parity:
    """How far this package's numbers lie from those of plain forwards of the plain model.

    Root mean square of the differences, as a share of the spread of the plain logits over the
    vocabulary. Of what was switched off, what it was before.
    """

    letters: float
    """Logits of single tokens after prompts that share a prefix."""
    cloze: float
    """Mean log-probabilities of several endings of each prompt."""
    left_padded: float
    """Logits of the first new tokens of prompts that are padded on the left."""
    generated: float
    """Logits of the first new tokens of a prompt by itself."""
    tolerance: float
    switched_off: tuple[str, ...] = ()
    """Ways to save arithmetic that this model does not allow, each with its difference."""


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """Ways to save arithmetic, all of which leave most models' numbers as they are."""

    packing: bool = True
    """Several endings in one row, each behind the prompt alone."""
    sharing: bool = True
    """What prompts begin with is computed once."""
    left_padding: bool = True
    """Prompts of several lengths are continued together."""
    caching: bool = True
    """Texts are continued from the keys and values of their tokens so far."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a loaded model came from and how its self-test went."""

    name: str
    location: str
    architecture: str
    dtype: str
    device: str
    self_test: SelfTest
    parity: Parity | None = None
    renamed: tuple[str, ...] = ()
    """Prefixes that were taken off the names of its tensors."""
    left_out: int = 0
    """Tensors of a vision or audio part, which were not loaded."""
    trust_remote_code: bool = False
    """Whether code that came with it was allowed to run."""


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
        shortcuts: Shortcuts
        """What its gate allows."""
        logit_scale: float
        """What the unembedding's output is multiplied by."""
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

        def add_hook(
            self, name: str, hook: Callable[..., Any], *, is_permanent: bool = False
        ) -> None:
            """A hook that stays."""
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
