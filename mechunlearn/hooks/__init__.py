"""Where and how activations are read and changed; no other folder spells a hook name."""

from mechunlearn.hooks.flops import Meter, add_flops, count_flops, metered
from mechunlearn.hooks.points import (
    EMBED,
    Unit,
    check_layers,
    embedding_table,
    first_embeddings,
    move_along,
    replace_units,
    replaced_embeddings,
    stream_writes,
    streams,
    unit_name,
)
from mechunlearn.hooks.reading import (
    capture,
    forward_to,
    frozen_unembedding,
    run_blocks,
    softcapped,
    unembed,
)
from mechunlearn.hooks.weights import (
    LINEAR_MAPS,
    LinearMap,
    linear_maps,
    live_parameters,
    mlp_parameters,
    stream_weights,
    untie_,
)

__all__ = [
    "EMBED",
    "LINEAR_MAPS",
    "LinearMap",
    "Meter",
    "Unit",
    "add_flops",
    "capture",
    "check_layers",
    "count_flops",
    "embedding_table",
    "first_embeddings",
    "forward_to",
    "frozen_unembedding",
    "linear_maps",
    "live_parameters",
    "metered",
    "mlp_parameters",
    "move_along",
    "replace_units",
    "replaced_embeddings",
    "run_blocks",
    "softcapped",
    "stream_weights",
    "stream_writes",
    "streams",
    "unembed",
    "unit_name",
    "untie_",
]
