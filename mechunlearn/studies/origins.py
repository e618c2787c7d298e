"""What the models of a validation were made from, noted beside each of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mechunlearn.models import check
from mechunlearn.models.identity import arithmetic, model_identity, task_revision
from mechunlearn.records import Plain
from mechunlearn.tasks.people import People
from mechunlearn.tasks.world import World
from mechunlearn.train.origin import claim
from mechunlearn.types import Task


def claim_model(target: Path, source: str, done: Mapping[str, Plain]) -> None:
    """Note in ``TARGET.json`` what a model is made from, before it is; or refuse another one.

    A model without a note, as earlier versions made them, is kept, and that is said.

    Args:
        source: The model before.
        done: What is done to it, and all that this depends on.

    Raises:
        OtherOriginError: If the model that is there was made from something else.
    """
    check(source)
    weights = {f"weights of {Path(source).name}": model_identity(source)}
    note = target.with_name(f"{target.name}.json")
    claim(note, target, {**done, **weights, "versions": arithmetic()})


def treated(
    task: Task, world: World | People, treatments: Sequence[str], changes: Sequence[str]
) -> dict[str, Plain]:
    """What treatments depend on beside the model; of the settings, only those of these methods."""
    return {
        "treatments": list(treatments),
        "settings": dict(c.split("=", 1) for c in changes if c.partition(".")[0] in treatments),
        "questions": task_revision(task),
        "world": f"{type(world).__name__} {world.seed}",
    }
