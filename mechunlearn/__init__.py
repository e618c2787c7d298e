"""Is an LLM's "unlearned" knowledge gone, or only hidden?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechunlearn.analysis.analyse import audit
    from mechunlearn.analysis.records import Report
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.bench import score, score_task
    from mechunlearn.models import load, save
    from mechunlearn.tasks import load_task
    from mechunlearn.types import Change, Hook, HookedModel, Question, Score, Task

__version__ = "0.1.0"

_WHERE = {
    "AuditPlan": "audit.plan",
    "Change": "types",
    "Hook": "types",
    "HookedModel": "types",
    "Question": "types",
    "Report": "analysis.records",
    "Score": "types",
    "Task": "types",
    "audit": "analysis.analyse",
    "load": "models",
    "load_task": "tasks",
    "save": "models",
    "score": "bench",
    "score_task": "bench",
}
__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import mechunlearn`` does not import torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'mechunlearn' has no attribute {name!r}")
    return getattr(import_module(f"mechunlearn.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
