"""Continuations of cached texts, several in a row, rows in batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from mechunlearn.bench.branches import Branch, branches
from mechunlearn.bench.rows import pad
from mechunlearn.types import HookedModel


@dataclass(frozen=True, slots=True)
class Piece:
    """What has to be run of one candidate on one item."""

    pair: tuple[int, int]
    source: int
    """Whose keys and values it continues."""
    seen: int
    """How many of them."""
    tokens: Sequence[int]
    offset: int
    """Place of the first token after the slot."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one forward, each with pieces of one source."""

    pairs: list[tuple[int, int]]
    places: list[int]
    """Of each pair's first token after the slot, in the flattened tokens."""
    tokens: Int[Tensor, "row pos"]
    sources: list[int]
    """Of each row."""
    cached: int
    """Tokens that every row continues."""
    extra: dict[str, Any]
    """Mask and positions, where they are not the usual ones."""


def packed(pieces: Sequence[Piece], room: int) -> list[list[Piece]]:
    """Pieces of one source in equally filled rows of about ``room`` tokens, the longest row first.

    The longest piece left goes to the emptiest row.
    """
    packed_rows = []
    for source in dict.fromkeys(piece.source for piece in pieces):
        own = [piece for piece in pieces if piece.source == source]
        filled = [0] * max(1, math.ceil(sum(len(p.tokens) for p in own) / room))
        rows: list[list[Piece]] = [[] for _ in filled]
        for piece in sorted(own, key=lambda p: -len(p.tokens)):
            at = filled.index(min(filled))
            rows[at].append(piece)
            filled[at] += len(piece.tokens)
        packed_rows += [row for row in rows if row]
    return sorted(packed_rows, key=lambda row: -sum(len(piece.tokens) for piece in row))


def batch_of(model: HookedModel, rows: Sequence[Sequence[Piece]]) -> Batch:
    """One forward for these rows."""
    tokens, _ = pad(model, [[t for piece in row for t in piece.tokens] for row in rows])
    width = tokens.shape[1]
    cached = max(piece.seen for row in rows for piece in row)
    trees: list[list[Branch]] = []
    places = []
    for i, row in enumerate(rows):
        trees.append([])
        start = 0
        for piece in row:
            trees[-1].append(Branch(cached + start, len(piece.tokens), piece.seen))
            places.append(i * width + start + piece.offset)
            start += len(piece.tokens)
    alone = all(len(row) == 1 and row[0].seen == cached for row in rows)
    return Batch(
        [piece.pair for row in rows for piece in row],
        places,
        tokens,
        [row[0].source for row in rows],
        cached,
        {} if alone else branches(model, trees, width, cached),
    )
