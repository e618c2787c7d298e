"""Rules of the house that a program can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mechunlearn.registry import ATTACKS, METHODS, find

PACKAGE = Path(__file__).parents[2] / "mechunlearn"
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = {
    "errors": 0, "display": 0, "registry": 0, "progress": 0, "environment": 0,
    "types": 1, "results": 1, "stats": 1, "sources": 1, "placement": 1,
    "hooks": 2, "weights": 2, "tokenizer": 2, "models": 3, "tasks": 3,
    "presets": 3, "lora": 4, "bench": 4, "train": 4, "attacks": 5, "unlearn": 5, "organisms": 5,
    "audit": 6, "plots": 7, "report": 8, "doctor": 8, "trackers": 8,
    "cli_options": 8, "cli_report": 9, "cli_audit": 9, "cli": 9,
}  # fmt: skip
"""Imports point from higher to lower (or equal) numbers."""


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechunlearn."):
            found.add((node.module or "").split(".")[1])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    allowed = ORDER[part]
    # Scores print their interval and reports show themselves: types import that when asked.
    late = {i for i in imports(file) if ORDER[i] > allowed}
    late -= {"stats", "report"} if part == "results" else set()
    assert not late, f"{part} must not import {late}"


def test_hook_names_are_spelled_in_one_file() -> None:
    for file in FILES:
        if file.name != "hooks.py":
            assert not re.search(r'"[^"\n]*hook_(resid|attn_out|mlp_out|embed)', file.read_text())


def test_registered_methods_name_their_paper() -> None:
    for kind, table in (("method", METHODS), ("attack", ATTACKS)):
        for name in table:
            text = sys.modules[find(kind, name).__module__].__doc__ or ""
            assert "Reference:" in text
            assert re.search(r"arXiv:\d{4}\.\d{5}", text)
            assert "Differs:" in text
            assert "Limits:" in text
            formula = text.partition("Reference:")[0]
            assert re.search(r"\n\n    \S", formula), f"{name}: an indented formula"
            assert hasattr(find(kind, name), "presets")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'logit_lens'"):
        find("attack", "logit_lense")


def test_files_stay_readable() -> None:
    assert not [f.name for f in FILES if len(f.read_text().splitlines()) > 420]
    assert not [f for f in FILES if f.name == "utils.py"]


@pytest.mark.parametrize("statement", ["import mechunlearn", "import mechunlearn.cli"])
def test_importing_is_light(statement: str) -> None:
    code = f"{statement}; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
