"""Every method by name; nothing is imported until it is asked for."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from mechunlearn.errors import unknown
from mechunlearn.plugins import imported, installed, package_of

METHODS = {
    "rmu": "mechunlearn.unlearn.rmu:RMU",
    "npo": "mechunlearn.unlearn.npo:NPO",
    "simnpo": "mechunlearn.unlearn.simnpo:SimNPO",
    "dpo": "mechunlearn.unlearn.dpo:DPO",
    "circuit_breakers": "mechunlearn.unlearn.circuit_breakers:CircuitBreakers",
    "gradient_difference": "mechunlearn.unlearn.gradient_difference:GradientDifference",
    "undial": "mechunlearn.unlearn.undial:UNDIAL",
    "wga": "mechunlearn.unlearn.wga:WGA",
    "satimp": "mechunlearn.unlearn.satimp:SatImp",
    "altpo": "mechunlearn.unlearn.altpo:AltPO",
    "idk_dpo": "mechunlearn.unlearn.altpo:IdkDPO",
    "idk_nll": "mechunlearn.unlearn.idk_nll:IdkNLL",
}
"""Unlearning methods."""
ATTACKS = {
    "forms": "mechunlearn.attacks.forms:Forms",
    "direction_ablation": "mechunlearn.attacks.direction_ablation:DirectionAblation",
    "ablation_search": "mechunlearn.attacks.ablation_search:AblationSearch",
    "steering_vectors": "mechunlearn.attacks.steering:Steering",
    "latent_perturbation": "mechunlearn.attacks.latent_perturbation:LatentPerturbation",
    "logit_lens": "mechunlearn.attacks.logit_lens:LogitLens",
    "tuned_lens": "mechunlearn.attacks.tuned_lens:TunedLens",
    "probes": "mechunlearn.attacks.probes:FORGET",
    "probes_retain": "mechunlearn.attacks.probes:RETAIN",
    "patching": "mechunlearn.attacks.patching:Patching",
    "patchscope": "mechunlearn.attacks.patchscope:Patchscope",
    "pruning_weights": "mechunlearn.attacks.set_difference_pruning:WEIGHTS",
    "pruning_neurons": "mechunlearn.attacks.set_difference_pruning:NEURONS",
    "pruning_heads": "mechunlearn.attacks.set_difference_pruning:HEADS",
    "quantization": "mechunlearn.attacks.quantization:Quantization",
    "deployed": "mechunlearn.attacks.deployed:Deployed",
    "merging": "mechunlearn.attacks.merging:Merging",
    "relearning_disjoint": "mechunlearn.attacks.relearning:DISJOINT",
    "relearning_tested": "mechunlearn.attacks.relearning:TESTED",
    "relearning_retain": "mechunlearn.attacks.relearning:RETAIN",
    "relearning_text": "mechunlearn.attacks.relearning:TEXT",
    "relearning_questions": "mechunlearn.attacks.relearning:QUESTIONS",
    "perturbation_naive": "mechunlearn.attacks.perturbation_naive:NaivePerturbation",
    "perturbation_informed": "mechunlearn.attacks.perturbation_informed:InformedPerturbation",
    "fewshot_disjoint": "mechunlearn.attacks.fewshot:DISJOINT",
    "fewshot_retain": "mechunlearn.attacks.fewshot:RETAIN",
    "aliases": "mechunlearn.attacks.aliases:Aliases",
    "jailbreak": "mechunlearn.attacks.jailbreaks:Jailbreak",
    "rewording": "mechunlearn.attacks.rewording:Rewording",
    "gcg": "mechunlearn.attacks.gcg.attack:GCG",
    "soft_prompt": "mechunlearn.attacks.soft_prompt:SoftPrompt",
}
"""Attacks."""
MEASURES = {
    "letter": "mechunlearn.bench.measures.letters:LETTER",
    "cloze": "mechunlearn.bench.measures.cloze:CLOZE",
    "likeliest": "mechunlearn.bench.measures.truth_ratio:LIKELIEST",
    "truth_ratio": "mechunlearn.bench.measures.truth_ratio:TRUTH_RATIO",
    "truth_share": "mechunlearn.bench.measures.truth_ratio:TRUTH_SHARE",
    "probability": "mechunlearn.bench.measures.probability:PROBABILITY",
    "extraction_strength": "mechunlearn.bench.measures.memorised:EXTRACTION_STRENGTH",
    "exact_memorisation": "mechunlearn.bench.measures.memorised:EXACT_MEMORISATION",
    "containment": "mechunlearn.bench.measures.containment:CONTAINMENT",
    "novel_recall": "mechunlearn.bench.measures.novel_recall:NOVEL_RECALL",
    "rouge_recall": "mechunlearn.bench.measures.rouge:RECALL",
    "rouge_f1": "mechunlearn.bench.measures.rouge:F1",
    "exact_match": "mechunlearn.bench.measures.exact_match:EXACT_MATCH",
    "token_f1": "mechunlearn.bench.measures.exact_match:TOKEN_F1",
    "entailment": "mechunlearn.bench.measures.entailment:ENTAILMENT",
}
"""How answers are measured."""
CHECKS = {"parity": "mechunlearn.bench.parity:PARITY"}
"""What every model has to pass when it is loaded."""
FIGURES = {
    "comparison": "mechunlearn.plots.comparison:FIGURE",
    "forest": "mechunlearn.plots.forest:FIGURE",
    "lens_by_method": "mechunlearn.plots.lens:BY_METHOD",
    "letters": "mechunlearn.plots.letters:FIGURE",
    "recovery": "mechunlearn.plots.recovery:FIGURE",
    "overlap": "mechunlearn.plots.overlap:FIGURE",
    "frontier": "mechunlearn.plots.frontier:FIGURE",
    "lens": "mechunlearn.plots.lens:FIGURE",
    "depth": "mechunlearn.plots.depth:FIGURE",
    "projection": "mechunlearn.plots.projection:FIGURE",
    "limits": "mechunlearn.plots.limits:FIGURE",
    "search": "mechunlearn.plots.search:FIGURE",
    "pruning": "mechunlearn.plots.pruning:FIGURE",
    "relearning": "mechunlearn.plots.relearning:FIGURE",
    "prefix": "mechunlearn.plots.prefix:FIGURE",
    "perturbation": "mechunlearn.plots.perturbation:FIGURE",
    "leak": "mechunlearn.plots.leak:FIGURE",
}
"""Figures of a report, in the order in which they are shown."""
DEFAULT_ATTACKS = (
    "forms",
    "direction_ablation",
    "logit_lens",
    "pruning_weights",
    "relearning_disjoint",
    "perturbation_naive",
    "aliases",
)
"""Other forms first, then one of each family; what an audit runs when nothing else is asked for."""
WITHOUT_CONTROL = (*DEFAULT_ATTACKS, "relearning_retain")
"""The same where no never-knew model is taught the same facts; what can show nothing is left out.
"""

TABLES = {
    "method": METHODS,
    "attack": ATTACKS,
    "measure": MEASURES,
    "check": CHECKS,
    "figure": FIGURES,
}
"""The package's own entries: ``module:attribute``; of an attack's class there is one instance."""
NEEDED = {
    "method": ("presets", "stronger", "gentler", "apply_"),
    "attack": ("family", "access", "needs", "variant", "presets", "search", "check_declared"),
    "measure": ("prompt", "answers", "right", "chance", "check", "rows", "run", "score"),
    "check": ("reference", "compare"),
    "figure": ("kind", "explains", "draw", "allowed", "of"),
}
"""What an entry has to have."""
PROTOCOLS = {
    "method": "mechunlearn.unlearn.Method",
    "attack": "mechunlearn.attacks.Attack",
    "measure": "mechunlearn.bench.measures.Measure",
    "check": "mechunlearn.bench.parity.Check",
    "figure": "mechunlearn.plots.figure.Figure",
}
"""Where that is described."""
_ADDED: dict[str, dict[str, tuple[Any, int]]] = {kind: {} for kind in TABLES}
"""Name -> entry and version, of what this process registered."""


def register(kind: str, name: str, entry: Any, *, version: int = 1) -> None:
    """Add a method, an attack, a measure or a figure of your own; this process then knows it.

    Workers of a Ray cluster and later processes do not: what is to stay belongs into a file.
    Registering a name again replaces the entry, so that a notebook's cell can be run twice.

    Args:
        kind: ``method``, ``attack``, ``measure`` or ``figure``.
        entry: Of an attack a subclass of ``mechunlearn.attacks.Attack``, or an instance of one.
        version: To be raised when the entry changes: an audit keeps finished results of a version.

    Raises:
        ValueError: If the name is one of the package's own, or is no name; or an attack declares a
            family, an access or a need that there is not.
        TypeError: If the entry lacks something; see ``mechunlearn.attacks.Attack`` and
            ``mechunlearn.unlearn.Method``.
    """
    if name in _table(kind):
        raise ValueError(f"the package has its own {kind} {name!r}; choose another name")
    _ADDED[kind][name] = _checked(kind, name, entry), version


def _checked(kind: str, name: str, entry: Any) -> Any:
    """An entry of somebody else's, an instance where it is an attack's class."""
    if not name.isidentifier():
        raise ValueError(f"a registered name has letters, digits and _ only, not {name!r}")
    abstract: frozenset[str] = getattr(entry, "__abstractmethods__", frozenset())
    if missing := [x for x in NEEDED[kind] if not hasattr(entry, x) or x in abstract]:
        raise TypeError(
            f"{kind} {name!r} lacks {', '.join(missing)}; derive it from {PROTOCOLS[kind]}"
        )
    if kind == "attack":
        entry = entry() if isinstance(entry, type) else entry
        entry.check_declared(name)
    return entry


def names(kind: str) -> tuple[str, ...]:
    """Everything that is registered: the package's own, other packages', this process's."""
    own = _table(kind)
    return tuple(dict.fromkeys((*own, *installed(kind), *_ADDED[kind])))


def added_version(kind: str, name: str) -> int | str | None:
    """Version of an entry of this process or of another package; ``None``: the package's own."""
    if name in _ADDED[kind]:
        return _ADDED[kind][name][1]
    brought = name not in _table(kind) and name in installed(kind)
    return package_of(installed(kind)[name]) if brought else None


def find(kind: str, name: str) -> Any:
    """The registered object; of an attack always the same instance.

    Args:
        kind: ``method``, ``attack``, ``measure`` or ``figure``.

    Raises:
        ValueError: If the name is not registered, with the nearest one that is; or another package
            brings it and it cannot be imported.
        TypeError: If what another package brings lacks something.
    """
    table = _table(kind)
    if name in _ADDED[kind]:
        return _ADDED[kind][name][0]
    if name in table:
        return _loaded(kind, table[name])
    if name in installed(kind):
        return _brought(kind, name)
    raise unknown(kind, name, names(kind), " See: mechunlearn list")


@cache
def _brought(kind: str, name: str) -> Any:
    """What another package brings."""
    return _checked(kind, name, imported(kind, installed(kind)[name]))


@cache
def _loaded(kind: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    entry = getattr(import_module(module), attribute)
    return entry() if kind == "attack" and isinstance(entry, type) else entry


def _table(kind: str) -> dict[str, str]:
    if kind not in TABLES:
        raise unknown("kind", kind, TABLES)
    return TABLES[kind]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a registered method says of itself in its file."""

    name: str
    idea: str
    paper: str
    target: str

    @property
    def file(self) -> str:
        """The file that holds the whole method."""
        return self.target.partition(":")[0].replace(".", "/") + ".py"


def entries(kind: str) -> list[Entry]:
    """The package's own methods of a kind, read from their files without importing them."""
    found = []
    for name, target in _table(kind).items():
        parts = target.partition(":")[0].split(".")[1:]
        source = Path(__file__).parent.joinpath(*parts).with_suffix(".py")
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        papers = re.findall(r"arXiv:(\d{4}\.\d{5})", text)
        found.append(Entry(name, text.splitlines()[0], ", ".join(papers), target))
    return found


def markdown() -> str:
    """The guide's table of methods."""
    lines = ["| kind | name | idea | paper (arXiv) | file |", "|---|---|---|---|---|"]
    for kind in ("method", "attack"):
        for file, group in groupby(entries(kind), key=lambda e: e.file):
            same = list(group)
            first = same[0]
            papers = ", ".join(f"[{p}](https://arxiv.org/abs/{p})" for p in first.paper.split(", "))
            names = ", ".join(f"`{e.name}`" for e in same)
            shown = "unlearning" if kind == "method" else kind
            link = f"[{file.rpartition('/')[2]}](../{file.partition('/')[2]})"
            lines.append(f"| {shown} | {names} | {first.idea} | {papers} | {link} |")
    return "\n".join(lines)
