"""The hooked model that everything here works on."""

from typing import TypeAlias

from transformer_lens.model_bridge import TransformerBridge

HookedModel: TypeAlias = TransformerBridge
"""TransformerLens' hooked transformer; before version 4 it was called ``HookedTransformer``."""
