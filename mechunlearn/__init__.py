"""Is an LLM's "unlearned" knowledge gone, or only hidden?"""

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mechunlearn.version import __version__ as __version__

if TYPE_CHECKING:
    from mechunlearn.analysis.analyse import audit as audit
    from mechunlearn.analysis.report import Report as Report
    from mechunlearn.audit.attack import attack as attack
    from mechunlearn.audit.plan import AuditPlan as AuditPlan
    from mechunlearn.bench import score as score
    from mechunlearn.bench import score_task as score_task
    from mechunlearn.models import load as load
    from mechunlearn.models import save as save
    from mechunlearn.tasks import load_task as load_task
    from mechunlearn.tasks import task_from as task_from
    from mechunlearn.types import Change as Change
    from mechunlearn.types import Hook as Hook
    from mechunlearn.types import HookedModel as HookedModel
    from mechunlearn.types import Question as Question
    from mechunlearn.types import Score as Score
    from mechunlearn.types import Task as Task
    from mechunlearn.unlearn.apply import unlearn as unlearn

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
    "task_from": "tasks",
}
_FOLDERS = {"audit": "analysis.analyse", "unlearn": "unlearn.apply"}
"""Folders that are called like what they do: ``mechunlearn.audit(...)`` is a function too."""
__all__ = sorted([*_WHERE, *_FOLDERS, "__version__"])


def _from(module: str, name: str) -> Any:
    return getattr(import_module(f"mechunlearn.{module}"), name)


class _Folder(ModuleType):
    """A folder of this package that can be called."""

    @property
    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return _from(_FOLDERS[name], name)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class _Package(ModuleType):
    """This package: importing one of its folders puts it here, and makes it a function too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOLDERS and isinstance(value, ModuleType):
            value.__class__ = _Folder
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import mechunlearn`` does not import torch."""
    if name in _FOLDERS:
        return import_module(f"mechunlearn.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'mechunlearn' has no attribute {name!r}")
    return _from(_WHERE[name], name)


def __dir__() -> list[str]:
    """What people use; everything else is found by its own import."""
    return __all__
