"""What a running audit has found so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mechunlearn.audit.arms import Choice
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.progress import console
from mechunlearn.types import Direction, Score, Task


@dataclass
class State:
    """What one audit has found so far."""

    plan: AuditPlan
    task: Task
    out: Path
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    """Model -> question set -> score; sets of the select fold end in ``_select``."""
    models: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    choices: dict[tuple[str, str], Choice] = field(default_factory=dict)
    arms: dict[tuple[str, str], dict[str, Score]] = field(default_factory=dict)
    flops: dict[tuple[str, str], int] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, tuple[Direction, int]] = field(default_factory=dict)
    """The direction and layer whose projections are drawn."""

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Announce a part of the audit and record how long it took."""
        console.print(f"[dim]{what}[/dim]")
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 2)
