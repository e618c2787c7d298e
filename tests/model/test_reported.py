"""What is reported of an attack is asked as what it is compared with."""

import dataclasses

import numpy as np
import pytest

from mechunlearn.audit.select import Deciding, Measured
from mechunlearn.bench import score
from mechunlearn.tasks import task_from
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.types import HookedModel, OpenQuestion


@pytest.mark.ci
def test_long_answers_of_twins_do_not_lengthen_the_others(organism: HookedModel) -> None:
    rows = [
        {"set": kind, "question": f"the {x} of house {i} is", "answer": "teal", "source": f"{x}{i}"}
        for kind, x in (("forget", "color"), ("retain", "shape"))
        for i in range(12)
    ]
    task = task_from(rows, config=TaskConfig(scoring="containment"))
    long = OpenQuestion("the color of the sky is", golds=("teal " * 20,), source="twin")
    measured = Measured(Deciding.of(task, "direction_ablation", frozenset()), (long,))
    found = measured.report(organism)
    alone = score(organism, task.questions("forget", "confirm"), task)
    assert found.confirm.texts == alone.texts
    assert np.array_equal(found.confirm.values, alone.values)
    assert found.twins is not None
    assert len(found.twins.texts[0]) > max(map(len, alone.texts))
    assert dataclasses.replace(measured, twins=()).report(organism).twins is None
