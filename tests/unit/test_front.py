"""What ``import mechunlearn`` offers."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import mechunlearn
from mechunlearn import Report, load, score, task_from
from mechunlearn.models import ORGANISMS, copied
from mechunlearn.types import HookedModel, Task

ROWS = [{"question": f"{a} + 1 =", "A": str(a), "B": str(a + 1), "answer": "B"} for a in range(20)]


def test_names_are_shown_and_there() -> None:
    assert set(dir(mechunlearn)) >= {
        *("load", "load_task", "score", "audit", "attack", "unlearn", "Report", "task_from"),
    }
    assert not [n for n in dir(mechunlearn) if n.startswith("_") and n != "__version__"]
    assert all(hasattr(mechunlearn, name) for name in dir(mechunlearn))
    assert (Path(mechunlearn.__file__).parent / "py.typed").exists()


def test_folders_that_were_imported_are_functions() -> None:
    assert callable(sys.modules["mechunlearn.audit"])
    assert mechunlearn.audit is sys.modules["mechunlearn.audit"]
    assert list(inspect.signature(mechunlearn.unlearn).parameters) == [
        *("model", "task", "method", "config", "preset")
    ]
    code = "import mechunlearn.audit.labels, sys\nfrom mechunlearn import audit\n"
    code += "print(callable(audit), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_signatures_are_the_functions() -> None:
    from mechunlearn.analysis.analyse import audit

    assert inspect.signature(mechunlearn.audit) == inspect.signature(audit)
    with pytest.raises(TypeError, match="plan"):
        mechunlearn.audit()
    with pytest.raises(AttributeError, match="no attribute 'adit'"):
        mechunlearn.adit  # noqa: B018


@pytest.mark.parametrize("kind", [list, pd.DataFrame, Dataset.from_list], ids=str)
def test_tasks_from_what_one_has(kind: type) -> None:
    task = task_from(kind(ROWS[:10]), kind(ROWS[10:]))
    assert [q.answer for q in task.forget] == [1] * 10
    assert task.forget[3].choices == ("3", "4")
    sets = [row | {"set": "forget" if i % 2 else "retain"} for i, row in enumerate(ROWS)]
    one = task_from(kind(sets))
    assert (len(one.forget), len(one.retain)) == (10, 10)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS, "mine has no forget and no retain questions"),
        ({"train": ROWS}, "one split of a data set, not dict"),
        (3, "not int"),
        (["a"], "row 1 is str"),
        ([{"question": "a"}], "mine, row 1: no column"),
    ],
)
def test_what_is_no_task(rows: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_from(rows)


def test_empty_cells_of_frames_are_none() -> None:
    frame = pd.DataFrame([*ROWS[:10], ROWS[10] | {"topic": "sums"}])
    assert [q.topic for q in task_from(frame, ROWS[11:]).forget][-2:] == ["", "sums"]


def test_a_model_in_hand(organism: HookedModel, task: Task) -> None:
    folder = ORGANISMS / "original@0"
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for more in ({"dtype": "bfloat16"}, {"device": "cuda"}, {"revision": "main"}):
        with pytest.raises(ValueError, match="a model in memory stays as and where it is"):
            load(plain, AutoTokenizer.from_pretrained(folder), **more)
    with pytest.raises(ValueError, match="comes with its tokenizer"):
        load(plain)
    with pytest.raises(ValueError, match="brings its own tokenizer"):
        load("organism:original", object())
    held = load(plain, AutoTokenizer.from_pretrained(folder))
    again, asked = copied(organism), task.forget[:40]
    expected = score(organism, asked, task).logits
    # transformers may choose another kernel of attention than load does.
    assert np.allclose(score(held, asked, task).logits, expected, atol=1e-3)
    assert (score(again, asked, task).logits == expected).all()
    next(again.parameters()).data.zero_()
    assert (score(organism, asked, task).logits == expected).all()


def test_reprs_are_short(task: Task, example_report: Report) -> None:
    assert len(repr(task)) < 200
    assert "432 forget" in repr(task)
    assert repr(example_report).startswith("Report(organism@0, n = 240: rmu hidden")
    assert "select</th><td>192" in task._repr_html_()
    assert len(example_report.frame()) == len(example_report.rows)
