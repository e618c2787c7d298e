"""What happened in a run, and what is measured and kept while it goes on."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mechunlearn.models.lora import Adapter
from mechunlearn.progress import console
from mechunlearn.types.display import table

MOMENTS = {"AdamW": ("exp_avg", "exp_avg_sq"), "SGD": ("momentum_buffer",)}
"""An optimizer's state of a parameter, beside its number of steps."""


@dataclass(frozen=True, slots=True)
class TrainLog:
    """What happened while training."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    """Loss terms per step."""
    measured: list[dict[str, int | float]] = field(default_factory=list)
    """What was measured on the way; each entry has its ``step``, counted in steps taken."""
    adapter: Adapter | None = None
    """The adapters that were trained and then merged, where there were any."""

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return max((len(v) for v in self.terms.values()), default=0)

    def having(self, adapter: Adapter | None) -> "TrainLog":
        """The same log with the adapters that were trained."""
        return dataclasses.replace(self, adapter=adapter)

    def __repr__(self) -> str:
        return f"TrainLog({self.steps} steps)"

    def _repr_html_(self) -> str:
        rows: dict[str, object] = {"steps": self.steps}
        for name, values in self.terms.items():
            rows[f"{name} loss"] = f"{values[0]:.3g} at first, {values[-1]:.3g} at last"
        for last in self.measured[-1:]:
            rows["measured last"] = ", ".join(f"{k} {v:.4g}" for k, v in last.items())
        return table(rows)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is measured and kept while a model trains."""

    every: int = 0
    """Steps between measurements and checkpoints; 0: none."""
    measure: Callable[[int], Mapping[str, float]] | None = None
    """Called with the steps taken."""
    state: Path | None = None
    """File for weights, optimizer and log; where it exists, training goes on from it."""
    at: tuple[int, ...] = ()
    """Further steps at which to measure."""
    printed: bool = True
    """Whether measurements are printed."""
    check: Callable[[TrainLog], None] | None = None
    """Called after each measurement with the log, in which a resumed run finds all of them; may end
    the run by raising."""

    def due(self, step: int, steps: int) -> bool:
        """Whether something happens after ``step`` of ``steps`` steps."""
        regular = self.every > 0 and (step % self.every == 0 or step == steps)
        return regular or step in self.at


def report(label: str, watch: Watch, steps: int, log: TrainLog) -> None:
    """Measure, remember and print."""
    if watch.measure is None or not watch.due(log.steps, steps):
        return
    values = watch.measure(log.steps)
    log.measured.append({"step": log.steps, **values})
    if watch.check is not None:
        watch.check(log)
    if not watch.printed:
        return
    losses = "".join(f", {name} loss {v[-1]:.3g}" for name, v in log.terms.items())
    shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    console.print(f"[dim]{label}, step {log.steps} of {steps}: {shown}{losses}[/dim]")


def keep(
    path: Path, parameters: Sequence[Tensor], stepper: torch.optim.Optimizer, log: TrainLog
) -> None:
    """Write a checkpoint atomically: weights, moments, and the log as metadata."""
    tensors = {f"weight.{i}": p.detach().contiguous() for i, p in enumerate(parameters)}
    for i, p in enumerate(parameters):
        for moment in MOMENTS[type(stepper).__name__]:
            tensors[f"{moment}.{i}"] = stepper.state[p][moment].contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_suffix(".partial")
    log_text = json.dumps({"terms": log.terms, "measured": log.measured})
    save_file(tensors, partial_file, metadata={"log": log_text})
    os.replace(partial_file, path)


@torch.no_grad()
def resumed(
    path: Path | None, parameters: Sequence[torch.nn.Parameter], stepper: torch.optim.Optimizer
) -> TrainLog:
    """Load what ``keep`` wrote; an empty log where there is nothing.

    Raises:
        ValueError: If the file belongs to other parameters.
    """
    if path is None or not path.is_file():
        return TrainLog()
    names = MOMENTS[type(stepper).__name__]
    with safe_open(path, framework="pt") as file:
        if len(file.keys()) != (1 + len(names)) * len(parameters):
            raise ValueError(f"{path} is a checkpoint of other weights; remove it to start again")
        log = TrainLog(**json.loads(file.metadata()["log"]))
        for i, p in enumerate(parameters):
            p.copy_(file.get_tensor(f"weight.{i}"))
            moments = {m: file.get_tensor(f"{m}.{i}").to(p.device) for m in names}
            stepper.state[p] = {"step": torch.tensor(float(log.steps)), **moments}
    return log
