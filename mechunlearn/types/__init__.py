"""The nouns of the package: values that flow from task and models to the report."""

from mechunlearn.types.changes import (
    NO_CHANGE,
    Change,
    ForModel,
    Hook,
    HookFn,
    ReadOut,
    Rewrite,
    Rows,
    WeightEdit,
    running,
    whole_prompts,
)
from mechunlearn.types.direction import Direction
from mechunlearn.types.form import Form
from mechunlearn.types.items import (
    LETTERS,
    Example,
    Fold,
    OpenQuestion,
    PromptFormat,
    Question,
    Role,
    Scoring,
    Turn,
)
from mechunlearn.types.model import HookedModel, Parity, Provenance, SelfTest, Shortcuts
from mechunlearn.types.points import STREAMS, Point, Stream
from mechunlearn.types.score import Score
from mechunlearn.types.task import Task

__all__ = [
    "LETTERS",
    "NO_CHANGE",
    "STREAMS",
    "Change",
    "Direction",
    "Example",
    "Fold",
    "ForModel",
    "Form",
    "Hook",
    "HookFn",
    "HookedModel",
    "OpenQuestion",
    "Parity",
    "Point",
    "PromptFormat",
    "Provenance",
    "Question",
    "ReadOut",
    "Rewrite",
    "Role",
    "Rows",
    "Score",
    "Scoring",
    "SelfTest",
    "Shortcuts",
    "Stream",
    "Task",
    "Turn",
    "WeightEdit",
    "running",
    "whole_prompts",
]
