"""Is an LLM's "unlearned" knowledge gone, or only hidden?"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "HookedModel": "types",
    "Change": "types",
    "Question": "types",
    "Report": "analysis.records",
    "Score": "types",
    "Task": "types",
    "load": "models",
    "save": "models",
    "load_task": "tasks",
    "score": "bench",
    "score_task": "bench",
}
__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import mechunlearn`` does not import torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'mechunlearn' has no attribute {name!r}")
    return getattr(import_module(f"mechunlearn.{_WHERE[name]}"), name)
