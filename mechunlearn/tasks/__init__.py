"""Question sets and corpora by name."""

import re
from pathlib import Path

from mechunlearn.errors import unknown
from mechunlearn.tasks.names import TASKS
from mechunlearn.types import Task


def load_task(name: str | None = None, original: str = "organism:original") -> Task:
    """A task by name, or from a JSONL file of questions.

    Args:
        name: ``organism``, ``organism@SEED``, ``facts@SEED``, ``capitals``, or a path
            ending in ``.jsonl``; the default suits ``original``.
        original: The model that will be asked; picks the world's seed for organisms.

    Raises:
        ValueError: For an unknown name, a missing file or an invalid question set.
    """
    if name is None:
        name = "organism" if original.startswith("organism:") else "capitals"
    if match := re.fullmatch(r"(organism|facts)(?:@(\d+))?", name):
        from mechunlearn.tasks.world import World

        shown = re.search(r"@(\d+)$", original)
        world = World(int(match[2] or (shown[1] if shown else 0)))
        return world.task() if match[1] == "organism" else world.facts_task()
    if name == "capitals":
        from mechunlearn.tasks.capitals import capitals

        return capitals()
    if name.endswith(".jsonl"):
        from mechunlearn.tasks.files import from_jsonl

        return from_jsonl(Path(name))
    raise unknown("task", name, TASKS)
