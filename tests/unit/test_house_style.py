"""Rules of the house that a program can check."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mechunlearn.registry import ATTACKS, METHODS, find
from mechunlearn.version import __version__

PACKAGE = Path(__file__).parents[2] / "mechunlearn"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    "version", "errors", "records", "environment", "half", "interrupts", "progress", "stats",
    "plugins", "registry", "types", "hooks", "presets", "models", "tasks", "bench", "train", "cost",
    "organisms", "unlearn", "attacks", "audit", "analysis", "studies", "plots", "explore",
    "report", "cli",
)  # fmt: skip
"""Folders and files from the bottom up; each imports only from those before it."""
PAPER = ("studies/paper.py", "studies/published.py", "studies/published_attacks.py")
"""What repeats a published table has to say which attack each row is."""


def name(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def module(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(f): f for f in FILES}


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """A file's syntax, every node of it."""
    return tuple(ast.walk(ast.parse(file.read_text())))


def imports(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, inside functions and for types alike."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechunlearn"):
            source = node.module or ""
            inner = [f"{source}.{a.name}" for a in node.names]
            yield from (m if m in MODULES else source for m in inner)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_point_one_way(file: Path) -> None:
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    allowed = LAYERS.index(part)
    upward = {
        other
        for other in imports(file)
        if other != "mechunlearn" and LAYERS.index(other.split(".")[1]) > allowed
    }
    assert not upward, f"{part} must not import {upward}"


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {m: {i for i in imports(f) if i != m} for m, f in MODULES.items()}
    while leaves := {m for m, to in graph.items() if not to & set(graph)}:
        graph = {m: to for m, to in graph.items() if m not in leaves}
    assert not graph, f"circle among {sorted(graph)}"


def literals(file: Path) -> Iterator[ast.Constant]:
    """Texts of a file that are no docstrings."""
    plain = {
        id(node.value)
        for node in nodes(file)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in nodes(file):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in plain:
            yield node


def test_no_attack_is_known_by_its_name() -> None:
    spelled = set(ATTACKS) | {a.partition("_")[0] for a in ATTACKS if "_" in a} - {"direction"}
    spelled |= {f"{a.partition('_')[0]}_" for a in ATTACKS if "_" in a}
    places = [
        f"{name(file)}:{node.lineno} {node.value!r}"
        for file in FILES
        if not name(file).startswith(("attacks/", "registry.py", *PAPER))
        for node in literals(file)
        if node.value in spelled
    ]
    # A figure may be called as what it shows; that is its own name, not an attack's.
    figures = re.compile(r"plots/(\w+)\.py:\d+ '(\w+)'")
    places = [p for p in places if not ((m := figures.match(p)) and m[1] == m[2])]
    assert not places


def test_members_are_declared_and_not_looked_for() -> None:
    members = "attack|search|entry|found|method|variant|candidate"
    pattern = re.compile(rf'(get|has)attr\((self\.)?({members})\b, "')
    places = [name(f) for f in FILES if pattern.search(f.read_text())]
    assert not [p for p in places if p != "registry.py"]


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef):
                yield file, node


def test_results_are_records_and_not_loose_dicts() -> None:
    loose = re.compile(r"\b(dict|Mapping)\[str, Any\]")
    places = []
    for file, node in functions():
        hints = [a.annotation for a in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
        places += [
            f"{name(file)}:{node.name}"
            for h in hints
            if h is not None and loose.search(ast.unparse(h))
        ]
    assert len(places) < 20, places


def test_hook_names_are_spelled_in_one_place() -> None:
    for file in FILES:
        if not name(file).startswith(("hooks", "types/points.py")):
            assert not re.search(r'"[^"\n]*hook_(resid|attn_out|mlp_out|embed)', file.read_text())


def test_the_citation_is_of_this_version() -> None:
    text = (PACKAGE.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text


def test_registered_methods_name_their_paper() -> None:
    for kind, table in (("method", METHODS), ("attack", ATTACKS)):
        for registered in table:
            text = sys.modules[find(kind, registered).__module__].__doc__ or ""
            assert "Reference:" in text
            assert re.search(r"arXiv:\d{4}\.\d{5}", text)
            assert "Differs:" in text
            assert "Limits:" in text
            formula = text.partition("Reference:")[0]
            assert re.search(r"\n\n    \S", formula), f"{registered}: an indented formula"


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'logit_lens'"):
        find("attack", "logit_lense")


def test_files_and_functions_stay_readable() -> None:
    assert not [name(f) for f in FILES if len(f.read_text().splitlines()) > 320]
    assert not [f for f in FILES if f.name == "utils.py"]
    long = []
    for file, node in functions():
        text = ast.get_docstring(node, clean=False)
        length = (node.end_lineno or 0) - node.lineno + 1 - len((text or "").splitlines())
        if length > 45:
            long.append(f"{name(file)}:{node.name} {length}")
    assert not long


def test_no_measure_is_known_by_its_name() -> None:
    tested = re.compile(r'[!=]= "(letter|cloze)"|"(letter|cloze)" [!=]=')
    assert not [name(f) for f in FILES if tested.search(f.read_text())]
