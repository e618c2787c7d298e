"""Reports and a real browser for the page's tests."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechunlearn.analysis.records import Report

FIGURES = Path(__file__).parents[2] / "figures"
BROWSER = next((b for b in map(shutil.which, ("chromium", "google-chrome")) if b), None)
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>"
"""Text that runs, where a page does not take it for text."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs: pip install -e '.[dev]'")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    with sync_api.sync_playwright() as tools:
        options = ["--no-sandbox", "--disable-gpu"]
        started = tools.chromium.launch(executable_path=BROWSER, args=options)
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's source; skips where ``AXE_CORE`` does not name it."""
    if not (path := os.environ.get("AXE_CORE")):
        pytest.skip("AXE_CORE is not set to axe-core's axe.min.js; get it with: npm pack axe-core")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def committed() -> dict[str, Report]:
    """Every committed report, of older versions too, by its file's name."""
    files = [*FIGURES.glob("audit-*/*.json")]
    found = {f"{f.parent.name}/{f.stem}": json.loads(f.read_text()) for f in files}
    return {name: Report.from_dict(data) for name, data in found.items()}


@pytest.fixture(scope="session")
def with_questions(committed: dict[str, Report]) -> Callable[..., Report]:
    """A factory of reports that hold ``n`` questions a set and ``attacks`` attacks.

    Rows, curves and settings are a committed audit's, repeated; the answers are drawn at random.
    The first forget question is hostile text.
    """

    def make(n: int, attacks: int, words: int = 8) -> Report:
        data = copy.deepcopy(committed["audit-attacks/rmu-seed0"].to_dict())
        first, tried = data["rows"], data["details"]["rmu"]["tried"]
        real = list(first)
        for i in range(len(real), attacks):
            like = real[i % len(real)]
            first.append(like | {"attack": f"own_attack_{i}"})
            tried[f"own_attack_{i}"] = tried[like["attack"]]
        data["rows"] = first[:attacks]
        names = [r["attack"] for r in data["rows"]]
        data["details"]["rmu"]["tried"] = {name: tried[name] for name in names}
        data["questions"] = _questions(n, names, words)
        return Report.from_dict(data)

    return make


def _questions(n: int, attacks: list[str], words: int) -> dict[str, Any]:
    random = np.random.default_rng(0)

    def answers() -> str:
        return "".join(map(str, random.integers(0, 4, n)))

    sets = {
        name: {
            "stem": [f"{name} question {i} " + "about a mineral " * (words // 3) for i in range(n)],
            "topic": [f"topic {i % 7}" for i in range(n)],
            "choices": [[f"choice {k} of {i}" for k in range(4)] for i in range(n)],
            "answer": answers(),
        }
        for name in ("forget", "forget_select", "retain", "retain_select")
    }
    sets["forget"]["stem"][0] = f"Is this {HOSTILE} text?"
    sets["forget"]["choices"][0][1] = HOSTILE
    sets["forget"]["topic"][0] = HOSTILE
    original = {name: asked["answer"] for name, asked in sets.items()}
    models = {"original": original, "rmu": {name: answers() for name in sets}}
    models["rmu"]["forget"] = "3" * n
    return {
        "sets": sets,
        "models": models,
        "attacked": {
            "rmu": {
                a: {name: answers() for name in ("forget", "forget_select", "retain")}
                for a in attacks
            }
        },
        "control": {"rmu": {a: {"forget": answers()} for a in attacks}},
    }
