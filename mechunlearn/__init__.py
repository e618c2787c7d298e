"""Is an LLM's "unlearned" knowledge gone, or only hidden?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mechunlearn.version import __version__ as __version__

if TYPE_CHECKING:
    from mechunlearn.analysis.report import Report as Report
    from mechunlearn.audit.attack import attack as attack
    from mechunlearn.audit.plan import AuditPlan as AuditPlan
    from mechunlearn.bench import score as score
    from mechunlearn.bench import score_task as score_task
    from mechunlearn.models import load as load
    from mechunlearn.models import save as save
    from mechunlearn.tasks import load_task as load_task
    from mechunlearn.types import Change as Change
    from mechunlearn.types import Hook as Hook
    from mechunlearn.types import HookedModel as HookedModel
    from mechunlearn.types import Question as Question
    from mechunlearn.types import Score as Score
    from mechunlearn.types import Task as Task

_WHERE = {
    "AuditPlan": "audit.plan",
    "Change": "types",
    "Hook": "types",
    "HookedModel": "types",
    "Question": "types",
    "Report": "analysis.report",
    "Score": "types",
    "Task": "types",
    "attack": "audit.attack",
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
