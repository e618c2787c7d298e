"""What an audit will do, as plain data."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from mechunlearn.errors import unknown
from mechunlearn.models.placement import DTYPES, QUANTISED
from mechunlearn.presets import configured
from mechunlearn.registry import DEFAULT_ATTACKS, find, names
from mechunlearn.tasks import task_config
from mechunlearn.tasks.benchmark import TaskConfig


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """Models, task and attacks of one audit; equal plans give equal results.

    Raises:
        ValueError: For an unknown method or attack, or a name used twice.
    """

    original: str = "organism:original"
    unlearned: tuple[str, ...] = ()
    """Models that somebody else unlearned: names, folders or Hub ids."""
    methods: tuple[str, ...] = ()
    """Unlearning methods to apply to the original here; ``rmu`` when nothing else is given."""
    control: str = "auto"
    """The never-knew model; ``auto`` is an organism's twin, ``none`` leaves the sham as control."""
    task: str = ""
    """Empty: the task that suits the original."""
    attacks: tuple[str, ...] = ()
    """Empty: one of each family; ``all``: all that are registered."""
    changes: tuple[str, ...] = ()
    """Settings of methods and attacks: ``rmu.alpha=3``, ``pruning_weights.examples=64``."""
    seed: int = 0
    retain_limit: float = 0.05
    """Largest loss of retain accuracy an attack may cause on the select fold; relearning may cause
    more."""
    budget: str = ""
    """Time for what is computed in one call: ``90s``, ``30m``, ``2h``; empty: no limit."""
    dtype: str = "auto"
    """Number format of all models, as for ``load``."""
    device: str = "auto"
    """Where they are put, as for ``load``."""

    def __post_init__(self) -> None:
        if not self.unlearned and not self.methods:
            object.__setattr__(self, "methods", ("rmu",))
        if not self.attacks:
            object.__setattr__(self, "attacks", DEFAULT_ATTACKS)
        if self.attacks == ("all",):
            object.__setattr__(self, "attacks", names("attack"))
        for change in self.changes:
            known = ("task", *self.methods, *self.attacks)
            if (owner := change.partition(".")[0]) not in known:
                raise ValueError(
                    f"--set {change!r} is for {owner!r}, which is not among the methods and "
                    f"attacks {', '.join(known[1:])}, and not task"
                )
        _ = self.task_config
        for attack in self.attacks:
            self.settings("attack", attack)
        for method in self.methods:
            self.settings("method", method)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        if self.dtype in QUANTISED:
            self._refuse_weights()
        seconds(self.budget)
        if not 0 <= self.retain_limit <= 1:
            raise ValueError(f"retain_limit is a share of accuracy, not {self.retain_limit}")
        labels = [label(u) for u in self.unlearned] + list(self.methods)
        if twice := {x for x in labels if labels.count(x) > 1}:
            raise ValueError(f"two unlearned models share the name {sorted(twice)[0]!r}")

    def _refuse_weights(self) -> None:
        """Quantised weights can be used, but not read or written."""
        able = [a for a in names("attack") if "weights" not in find("attack", a).access]
        refused = [a for a in self.attacks if a not in able]
        if refused or self.methods:
            raise ValueError(
                f"--dtype {self.dtype}: {', '.join([*refused, *self.methods])} must read or change "
                "weights, which quantised models hide; use another --dtype, or with --unlearned "
                f"only --attacks {','.join(able)}"
            )

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of ``load`` for every model of this audit."""
        return {"original": self.original, "dtype": self.dtype, "device": self.device}

    def settings(self, kind: str, name: str, preset: str = "") -> Any:
        """The settings of a method or attack under this plan; ``None`` where it has none.

        Args:
            preset: Default: the first one, which is enough to see whether the changes are possible.

        Raises:
            ValueError: For an unknown name or setting, or a value that is not allowed.
        """
        entry, prefix = find(kind, name), f"{name}."
        mine = [c.removeprefix(prefix) for c in self.changes if c.startswith(prefix)]
        if mine and not entry.presets:
            raise ValueError(f"{name} has no settings; leave out --set {prefix}{mine[0]}")
        if not entry.presets:
            return None
        preset = preset or next(iter(entry.presets))
        return configured(entry, getattr(entry, "preferred", {}).get(preset, preset), mine)

    @property
    def task_config(self) -> TaskConfig:
        """How the task's questions are chosen and asked.

        Raises:
            ValueError: For an unknown setting, or a value that is not allowed.
        """
        return task_config(self.changes)

    @property
    def control_model(self) -> str | None:
        """Name of the never-knew model, or ``None``."""
        if self.control == "auto":
            twin = re.fullmatch(r"organism:original(@\d+)?", self.original)
            return f"organism:never_knew{twin[1] or ''}" if twin else None
        return None if self.control == "none" else self.control

    @property
    def name(self) -> str:
        """Folder name that says what is audited."""
        parts = [label(self.original).replace(":", "-"), *map(label, self.unlearned), *self.methods]
        if self.attacks != DEFAULT_ATTACKS:
            parts += ["all"] if self.attacks == names("attack") else self.attacks
        changes = [c for c in self.changes if not c.startswith("task.data=")]
        parts += [re.sub(r"[^\w.]+", "-", change) for change in changes]
        return "-".join([*parts, f"seed{self.seed}"])

    def command(self, out: object) -> str:
        """The command line that repeats this plan."""
        words = ["mechunlearn audit --original", self.original, "--control", self.control]
        for option, values in (
            ("--unlearned", self.unlearned),
            ("--method", self.methods),
            ("--set", self.changes),
        ):
            words += [x for value in values for x in (option, value)]
        words += [
            "--attacks",
            ",".join(self.attacks),
            *(["--task", self.task] if self.task else []),
            *(["--dtype", self.dtype] if self.dtype != "auto" else []),
            *(["--device", self.device] if self.device != "auto" else []),
        ]
        return " ".join([*words, "--seed", str(self.seed), "--out", str(out)])

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on, as plain data."""
        found = {k: v for k, v in self.to_dict().items() if k not in ("budget", "device")}
        if self.dtype == "auto":
            del found["dtype"]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def seconds(budget: str) -> float | None:
    """A budget in seconds; ``None`` without one.

    Raises:
        ValueError: If it is no positive number with a unit.

    Example:
        >>> seconds("30m"), seconds("1.5h"), seconds("")
        (1800.0, 5400.0, None)
    """
    if not budget:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if not match or float(match[1]) == 0:
        raise ValueError(f"a budget is a positive time such as 90s, 30m or 2h, not {budget!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def label(model: str) -> str:
    """Short name of a model for tables: the last part of its path or id."""
    return model.rstrip("/").split("/")[-1]
