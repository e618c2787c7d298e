"""Loading, checking and saving hooked models."""

from mechunlearn.models.gate import check, configuration, experts_of, self_test
from mechunlearn.models.loader import hook, load
from mechunlearn.models.sources import ORGANISMS, locate, named_models
from mechunlearn.models.weights import (
    block_fingerprints,
    checksum,
    fingerprint,
    plain_names,
    plain_state,
)
from mechunlearn.models.writer import copied, describe, save

__all__ = [
    "ORGANISMS",
    "block_fingerprints",
    "check",
    "checksum",
    "configuration",
    "copied",
    "describe",
    "experts_of",
    "fingerprint",
    "hook",
    "load",
    "locate",
    "named_models",
    "plain_names",
    "plain_state",
    "save",
    "self_test",
]
