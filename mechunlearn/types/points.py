"""Places in a model where activations are read and changed."""

from dataclasses import dataclass
from typing import Literal, get_args

from mechunlearn.errors import unknown

Stream = Literal["resid_post", "attn_out", "resid_mid", "mlp_out"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
"""Block output, attention output, residual between the two, MLP output (as in Łucki et al.)."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One place to read: a stream of one layer.

    Raises:
        ValueError: If there is no such stream, or the layer is negative.
    """

    layer: int
    stream: Stream = "resid_post"

    def __post_init__(self) -> None:
        if self.stream not in STREAMS:
            raise unknown("stream", str(self.stream), STREAMS)
        if self.layer < 0:
            raise ValueError(f"layers are counted from 0; there is no layer {self.layer}")

    @property
    def name(self) -> str:
        """TransformerLens' name of the hook point."""
        return f"blocks.{self.layer}.hook_{self.stream}"
