"""Notebooks are two files that agree, small, and read without running them."""

import ast
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(HERE.glob("[0-9][0-9]_*.py"))
PICTURES = {"image/png", "image/svg+xml"}
STATIC = {"text/plain", "text/html", *PICTURES}
"""What GitHub shows without running anything."""
HOVERS = "application/vnd.plotly.v1+json"
LARGEST = 450_000
"""Bytes of a notebook with its outputs."""

each = pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.stem)


def cells(source: Path) -> list[dict[str, Any]]:
    return json.loads(source.with_suffix(".ipynb").read_text())["cells"]


def outputs(source: Path) -> list[dict[str, Any]]:
    return [o for c in cells(source) if c["cell_type"] == "code" for o in c["outputs"]]


def test_they_are_numbered_and_all_there() -> None:
    assert [s.stem[:2] for s in SOURCES] == [f"{i:02}" for i in range(11)]


@each
def test_both_files_agree(source: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="pip install -e '.[notebooks]'")
    notebook = jupytext.read(source.with_suffix(".ipynb"))
    notebook.metadata = {"jupytext": {"notebook_metadata_filter": "-all"}}
    assert jupytext.writes(notebook, "py:percent") == source.read_text()


@each
def test_it_was_executed_from_start_to_end(source: Path) -> None:
    counts = [c["execution_count"] for c in cells(source) if c["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for o in outputs(source) if o["output_type"] == "error"]


@each
def test_outputs_are_small_and_static(source: Path) -> None:
    assert source.with_suffix(".ipynb").stat().st_size <= LARGEST
    assert "widgets" not in json.loads(source.with_suffix(".ipynb").read_text())["metadata"]
    for output in outputs(source):
        assert output.get("name") != "stderr"
        kinds = set(output.get("data", {"text/plain": ""}))
        assert kinds <= STATIC or (kinds & PICTURES and kinds <= {*STATIC, HOVERS})
    assert any(PICTURES & set(o.get("data", {})) for o in outputs(source)), "no figure"


@each
def test_functions_are_short(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 10, node.name


@each
def test_it_says_what_it_does_not_show(source: Path) -> None:
    last = "".join(cells(source)[-1]["source"])
    assert "## What this does not show\n" in last


def test_the_tour_is_short() -> None:
    assert len([c for c in cells(SOURCES[0]) if c["cell_type"] == "code"]) <= 15


def imported(tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """What a source takes from this package, by the names it uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mechunlearn"):
            module = import_module(str(node.module))
            for name in node.names:
                yield name.asname or name.name, getattr(module, name.name)


def misfits(source: str) -> list[str]:
    """Calls of imported functions and classes with arguments that they do not take."""
    tree = ast.parse(source)
    known, found = dict(imported(tree)), []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        starred = any(isinstance(x, ast.Starred) for x in node.args)
        if starred or node.func.id not in known or not all(k.arg for k in node.keywords):
            continue
        signature = inspect.signature(known[node.func.id])
        try:
            signature.bind(*node.args, **{str(k.arg): k.value for k in node.keywords})
        except TypeError as error:
            found.append(f"line {node.lineno}: {node.func.id}: {error}")
    return found


@each
def test_it_calls_what_there_is_the_way_it_is_called(source: Path) -> None:
    """Not all notebooks are executed every time."""
    assert not misfits(source.read_text(encoding="utf-8"))


def test_a_misfit_is_found() -> None:
    begin = "from mechunlearn import load, score\n"
    assert misfits(begin + "load('a', dtype='bfloat16')\nscore(1, 2, 3)") == []
    (one,) = misfits(begin + "load('a', dtyp='bfloat16')")
    assert "line 2: load: got an unexpected keyword argument 'dtyp'" in one
    with pytest.raises(AttributeError):
        misfits("from mechunlearn import no_such_thing")
