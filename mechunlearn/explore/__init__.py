"""Looking into models: figures that hover, of one question or a few, in one model or two.

Everything here is a picture of single texts, for finding out what to test; what an audit reports is
tested on questions that nothing was chosen by.
"""

from mechunlearn.explore.attention import Attention, attention
from mechunlearn.explore.attribution import Attribution, attribution
from mechunlearn.explore.cached import apart, states
from mechunlearn.explore.difference import difference, divergence, lens
from mechunlearn.explore.patching import Patching, patch_heads, patch_tokens, patch_units
from mechunlearn.explore.prompt import Prompt
from mechunlearn.explore.sliders import push, removal, slider, stepped

__all__ = [
    "Attention",
    "Attribution",
    "Patching",
    "Prompt",
    "apart",
    "attention",
    "attribution",
    "difference",
    "divergence",
    "lens",
    "patch_heads",
    "patch_tokens",
    "patch_units",
    "push",
    "removal",
    "slider",
    "states",
    "stepped",
]
