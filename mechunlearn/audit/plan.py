"""What an audit will do, as plain data. Command lines, TOML files and hashes all come from here.

Command lines read their options from here before anything else, so heavy imports stay inside.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mechunlearn.audit.given import of_their_types, refuse_one_folder, refuse_weights
from mechunlearn.audit.labels import Loading, labelled, tail
from mechunlearn.audit.option import Option as Option
from mechunlearn.audit.option import option, seconds
from mechunlearn.errors import unknown
from mechunlearn.registry import DEFAULT_ATTACKS, WITHOUT_CONTROL, find, names

if TYPE_CHECKING:
    from mechunlearn.presets import Size
    from mechunlearn.tasks.benchmark import TaskConfig

PLANTED = ("auto", "always", "never")
BITS = 32
"""Seeds are whole numbers of at most so many bits."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """Models, task and attacks of one audit; equal plans give equal results.

    Raises:
        ValueError: For an unknown method or attack, a value of another type or that is not allowed,
            or a name used twice.
    """

    original: str = option("organism:original", "--original", "The model before unlearning.")
    unlearned: tuple[str, ...] = option(
        (), "--unlearned", "A model somebody unlearned, or LABEL=MODEL; repeatable."
    )
    """Names, folders or Hub ids, each perhaps behind a label and a ``=``."""
    methods: tuple[str, ...] = option(
        (), "--method", "Unlearn it here with these; comma-separated.", commas=True
    )
    """Unlearning methods to apply to the original here; ``rmu`` when nothing else is given."""
    control: tuple[str, ...] | str = option(
        (),
        "--control",
        "A never-knew model; repeatable. auto: an organism's twin; none.",
        identity=False,
    )
    """Never-knew models; empty or ``auto`` is an organism's twin, ``none`` leaves the sham as
    control. Between several the spread of what they learn is measured."""
    task: str = option("", "--task", "A name (mechunlearn list) or a file; default: by model.")
    """Empty: the task that suits the original."""
    attacks: tuple[str, ...] = option(
        (),
        "--attacks",
        "Comma-separated, or all; default: one of each family.",
        identity=False,
        commas=True,
    )
    """Empty: one of each family; ``all``: all that are registered."""
    changes: tuple[str, ...] = option((), "--set", "rmu.alpha=3 and the like; repeatable.")
    """Settings of methods and attacks: ``rmu.alpha=3``, ``pruning_weights.examples=64``."""
    seed: int = option(0, "--seed", "Seed of everything random.")
    seeds: int = option(
        1, "--seeds", "Repeat attacks and unlearning with so many seeds.", identity=False
    )
    """How many: ``seed`` and those after it. Models that are given stay what they are."""
    planted: str = option(
        "auto",
        "--planted",
        "Also attack hiding planted in the original: auto (where it decides), always, never.",
        identity=False,
    )
    """The positive control; ``auto``: where a verdict would otherwise be that there is no evidence.
    """
    retain_limit: float = option(
        0.05,
        "--retain-limit",
        "Largest loss of retain accuracy of an attack; relearning may cost more.",
    )
    """Largest loss of retain accuracy an attack may cause on the select fold; relearning may cause
    more."""
    budget: str = option(
        "",
        "--budget",
        "90s, 30m, 2h: the most informative attacks that fit.",
        identity=False,
        audit_only=True,
    )
    """Time for what is computed in one call: ``90s``, ``30m``, ``2h``; empty: no limit."""
    dtype: str = option("auto", "--dtype", "auto, float32, bfloat16, float16, 8bit or 4bit.")
    """Number format of all models, as for ``load``."""
    device: str = option(
        "auto", "--device", "auto, cpu, cuda, cuda:1; map: over all GPUs.", identity=False
    )
    """Where they are put, as for ``load``."""
    trust_remote_code: bool = option(
        False,
        "--trust-remote-code",
        "Run code that comes with a model; off: such models are refused.",
        identity=False,
    )
    """As for ``load``."""
    threads: int = option(
        0,
        "--threads",
        "Of the arithmetic, which decides last digits; default: as the run began.",
    )
    """0: as many as the run in the folder began with, else what the machine gives."""

    def __post_init__(self) -> None:
        for name, value in of_their_types(self).items():
            object.__setattr__(self, name, value)
        given = (self.control,) if isinstance(self.control, str) else self.control
        object.__setattr__(self, "control", () if given == ("auto",) else given)
        if not self.unlearned and not self.methods:
            object.__setattr__(self, "methods", ("rmu",))
        if not self.attacks:
            object.__setattr__(self, "attacks", self.standard)
        if self.attacks == ("all",):
            object.__setattr__(self, "attacks", names("attack"))
        self._check_numbers()
        self._check_changes()
        self._check_placement()
        _ = self.labels

    def _check_placement(self) -> None:
        """Names of formats and devices; whether this machine has them is seen when they load."""
        from mechunlearn.models.placement import DTYPES, QUANTISED, check_name

        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        check_name(self.device)
        if self.dtype in QUANTISED:
            refuse_weights(self.dtype, self.attacks, self.methods)

    def _check_numbers(self) -> None:
        if not 0 <= self.retain_limit <= 1:
            raise ValueError(f"retain_limit is a share of accuracy, not {self.retain_limit}")
        if self.seeds < 1:
            raise ValueError(f"seeds are a number from 1 on: {self.seeds}")
        for seed in (self.seed, self.seed + self.seeds - 1):  # The first and the last.
            if not 0 <= seed < 2**BITS:
                raise ValueError(f"a seed is a whole number from 0 to 2^{BITS} - 1, not {seed}")
        if self.planted not in PLANTED:
            raise unknown("planted", self.planted, PLANTED)
        if len(self.control) > 1 and (odd := {"auto", "none"} & set(self.control)):
            raise ValueError(f"--control {odd.pop()} cannot stand beside other controls; name each")
        refuse_one_folder(self.control, "--control")
        refuse_one_folder(self.unlearned, "--unlearned", labels=True)
        if self.threads < 0:
            raise ValueError(f"threads are a number from 0 (as the run began) on: {self.threads}")
        seconds(self.budget)

    def _check_changes(self) -> None:
        from mechunlearn.presets import Size, check_each_once, owner_of

        check_each_once(self.changes)
        known = ("task", *self.methods, *self.attacks)
        for change in self.changes:
            if (owner := owner_of(change)) not in known:
                raise ValueError(
                    f"--set {change!r} is for {owner!r}, which is not among the methods and "
                    f"attacks {', '.join(known[1:])}, and not task"
                )
        for chosen, given in (("methods", self.methods), ("attacks", self.attacks)):
            if twice := next((x for x in given if given.count(x) > 1), None):
                raise ValueError(f"{chosen} names {twice!r} twice")
        for size in get_args(Size):
            self.resolved(size)

    def resolved(self, size: "Size") -> "Resolved":
        """Every setting of this plan, for models of one size.

        Raises:
            ValueError: For an unknown name or setting, or a value that is not allowed.
        """
        from mechunlearn.tasks import task_config

        return Resolved(
            plan=self,
            size=size,
            task=task_config(self.changes),
            methods={m: self._config(m, find("method", m), size) for m in self.methods},
            attacks={a: self._config(a, find("attack", a), size) for a in self.attacks},
        )

    def _config(self, name: str, entry: Any, size: "Size") -> Any:
        from mechunlearn.attacks.protocol import Attack
        from mechunlearn.attacks.vocabulary import NoSettings
        from mechunlearn.presets import configured, preset_of_size, reseeded

        prefix = f"{name}."
        own = [c.removeprefix(prefix) for c in self.changes if c.startswith(prefix)]
        preset = entry.preset(size) if isinstance(entry, Attack) else preset_of_size(entry, size)
        if own and isinstance(configured(entry, preset), NoSettings):
            raise ValueError(f"{name} has no settings; leave out --set {prefix}{own[0]}")
        return reseeded(configured(entry, preset, own), self.seed)

    @property
    def labels(self) -> dict[str, str]:
        """Every model under test: where it is loaded from, or the method that makes it.

        Raises:
            ValueError: If one model is given twice, or a label is used twice.
        """
        return labelled(self.unlearned, self.methods)

    @property
    def loading(self) -> Loading:
        """Arguments of ``load`` for every model of this audit."""
        return {
            "original": self.original,
            "dtype": self.dtype,
            "device": self.device,
            "trust_remote_code": self.trust_remote_code,
        }

    @property
    def control_models(self) -> tuple[str, ...]:
        """Names of the never-knew models; empty: there is none."""
        if not self.control:
            from mechunlearn.models.sources import twin_of

            twin = twin_of(self.original)
            return (twin,) if twin else ()
        return () if self.control == ("none",) else tuple(self.control)

    @property
    def standard(self) -> tuple[str, ...]:
        """The attacks of a plan that names none."""
        return DEFAULT_ATTACKS if self.control_models else WITHOUT_CONTROL

    @property
    def repeats(self) -> tuple["AuditPlan", ...]:
        """This plan, and the same with each further seed alone."""
        more = range(1, self.seeds)
        return (self, *(dataclasses.replace(self, seed=self.seed + k, seeds=1) for k in more))

    @property
    def name(self) -> str:
        """Folder name that says what is audited."""
        parts = [tail(self.original).replace(":", "-"), *self.labels]
        if self.attacks != self.standard:
            parts += ["all"] if self.attacks == names("attack") else self.attacks
        kept = [c for c in self.changes if not c.startswith("task.data=")]
        parts += [re.sub(r"[^\w.]+", "-", change) for change in kept]
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def folder(self) -> Path:
        """Where an audit goes when no folder is given."""
        return Path("runs") / self.name

    def command(self, out: object) -> str:
        """The command line that repeats this plan."""
        words = ["mechunlearn", "audit"]
        for name, about in options().items():
            value = getattr(self, name)
            standard = self.standard if name == "attacks" else DEFAULTS[name]
            if about.audit_only or value == standard:
                continue
            if isinstance(value, bool):
                words.append(about.flag)
            elif about.commas:
                words += [about.flag, ",".join(value)]
            else:
                values = value if isinstance(value, tuple) else [value]
                words += [x for v in values for x in (about.flag, str(v))]
        return " ".join([*map(shlex.quote, words), "--out", shlex.quote(str(out))])

    @property
    def identity(self) -> dict[str, Any]:
        """What stays the same in a folder, as plain data; each cell says what else it depends on.

        Attacks, their settings and controls may be added and left out later.
        """
        from mechunlearn.presets import owner_of

        items = self.to_dict().items()
        found = {key: value for key, value in items if options()[key].identity}
        kept = ("task", *self.methods)
        found["changes"] = [c for c in self.changes if owner_of(c) in kept]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        items = dataclasses.asdict(self).items()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in items}


DEFAULTS = {f.name: f.default for f in dataclasses.fields(AuditPlan)}


def options() -> dict[str, Option]:
    """The command-line option of every field of a plan."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(AuditPlan)}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A plan with nothing left open: what hashes, training, costs and command lines read."""

    plan: AuditPlan
    size: "Size"
    task: "TaskConfig"
    methods: Mapping[str, Any]
    """Settings of each unlearning method, by name."""
    attacks: Mapping[str, Any]
    """Settings of each attack, by name."""

    def changes_of(self, name: str) -> Sequence[str]:
        """The plan's changes of one method or attack, without its name."""
        prefix = f"{name}."
        return [c.removeprefix(prefix) for c in self.plan.changes if c.startswith(prefix)]
