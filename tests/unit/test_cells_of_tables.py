"""What tables put into cells: gaps, numbers, zeros, many columns; and which set a row is of."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from mechunlearn.bench import score
from mechunlearn.tasks import load_task, task_from
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.types import HookedModel, OpenQuestion

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lamda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
]


def rows(words: list[str], **more: Any) -> list[dict[str, Any]]:
    return [
        {"question": f"What is {w}?", "choices": ["red", "green"], "answer": i % 2, **more}
        for i, w in enumerate(words)
    ]


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_gaps_are_no_choices_and_no_answers(gap: Any) -> None:
    padded = rows(WORDS[:8], choices=["yes", "no", gap, gap])
    task = task_from(padded, rows(WORDS[8:]))
    assert {q.choices for q in task.forget} == {("yes", "no")}
    with pytest.raises(ValueError, match="an empty choice before others"):
        task_from(rows(WORDS[:8], choices=["yes", gap, "no"]), rows(WORDS[8:]))
    told = [{"question": f"Who saw {w}?", "answers": ["Ina", gap]} for w in WORDS]
    asked = task_from(told[:8], told[8:]).forget[0]
    assert isinstance(asked, OpenQuestion)
    assert asked.golds == ("Ina",)


def test_labels_stay_with_their_choices_where_there_are_gaps(tmp_path: Path) -> None:
    choices = {"text": ["red", None, "blue"], "label": ["1", "2", "3"]}
    told = [{"question": f"Which is {w}?", "choices": choices, "answerKey": "3"} for w in WORDS]
    asked = task_from(told[:8], told[8:]).forget[0]
    assert (asked.choices, asked.answer) == (("red", "blue"), 1)
    columns = {"question": [f"Which is {w}?" for w in WORDS], "answer": ["A"] * len(WORDS)}
    gaps = {"A": ["red"] * 16, "B": ["blue"] * 16, "C": [float("nan")] * 16}
    table = pyarrow.table({"set": ["forget", "retain"] * 8} | columns | gaps)
    parquet.write_table(table, tmp_path / "gaps.parquet")
    task = load_task(str(tmp_path / "gaps.parquet"))
    assert {q.choices for q in task.forget} == {("red", "blue")}


def test_numbers_of_columns_with_gaps_are_whole() -> None:
    cells = {"A": 1950.0, "B": 1960.0, "C": 1970.5, "answer": "A"}
    told = [{"question": f"When was {w}?", **cells} for w in WORDS]
    assert task_from(told[:8], told[8:]).forget[0].choices == ("1950", "1960", "1970.5")


def test_a_source_may_be_numbered_from_0() -> None:
    told = [row | {"source": i // 4} for i, row in enumerate(rows(WORDS[:8]))]
    task = task_from(told, rows(WORDS[8:]))
    assert [q.source for q in task.forget] == ["0"] * 4 + ["1"] * 4
    assert len({q.fold for q in task.forget[:4]}) == 1
    by_number = [row | {"id": i} for i, row in enumerate(rows(WORDS[:8]))]
    assert task_from(by_number, rows(WORDS[8:])).forget[0].source == "0"


def test_rows_are_of_the_set_that_they_name() -> None:
    keep, gone = rows(WORDS[:8], set="retain"), rows(WORDS[8:], set="forget")
    with pytest.raises(ValueError, match="to forget, and its rows are marked retain"):
        task_from(keep, gone)
    with pytest.raises(ValueError, match="has retain questions, and so has"):
        task_from([*keep, *gone], rows(["other", "others"]))
    task = task_from([*keep, *gone])
    assert (task.retain[0].stem, task.forget[0].stem) == ("What is alpha?", "What is iota?")


def test_more_choices_than_letters_are_refused_in_every_shape() -> None:
    letters = string.ascii_uppercase[:12]
    columns = {c: f"{c.lower()}-thing" for c in letters}
    lines = "\n".join(f"{c}. {text}" for c, text in columns.items())
    for shape in (columns, {"options": lines}, {"choices": list(columns.values())}):
        told = [{"question": f"What is {w}?", "answer": "B", **shape} for w in WORDS]
        with pytest.raises(ValueError, match="12 choice"):
            task_from(told[:8], told[8:])


def test_numbers_are_answers_in_words_where_there_are_no_choices() -> None:
    for year in ("1903", 1903, 1903.0):
        told = [{"question": f"When was {w} founded?", "answer": year} for w in WORDS]
        asked = task_from(told[:8], told[8:]).forget[0]
        assert isinstance(asked, OpenQuestion)
        assert asked.golds == ("1903",)
    one = [{"question": f"How many moons has {w}?", "answers": ["2"]} for w in WORDS]
    assert task_from(one[:8], one[8:]).forget[0].golds == ("2",)  # type: ignore[attr-defined]
    index = [{"question": f"Which moon is {w}?", "answer": 2} for w in WORDS]
    with pytest.raises(ValueError, match=r"no column choices.*column answers"):
        task_from(index[:8], index[8:])


def test_choices_that_differ_in_spaces_only_are_the_same() -> None:
    with pytest.raises(ValueError, match="right choice is there twice"):
        task_from(rows(WORDS[:8], choices=["b", "b ", "c"]), rows(WORDS[8:]))


def test_examples_and_headers_are_shown_under_every_measure() -> None:
    shots = rows(WORDS[:2], set="shots")
    how = {"set": "prompt", "header": "Answer in one word.\n\n"}
    told = [how, *shots, *rows(WORDS[2:9], set="forget"), *rows(WORDS[9:], set="retain")]
    for scoring in ("letter", "cloze"):
        task = task_from(told, config=TaskConfig(shots=2, scoring=scoring))
        text = task.prompt.text(task.forget[0], scoring)
        assert text.startswith("Answer in one word.")
        assert text.count("What is") == 3
    without = [how | {"cloze": "{statement}"}, *told[1:]]
    with pytest.raises(ValueError, match="no place for its header or examples"):
        task_from(without, config=TaskConfig(shots=2, scoring="cloze"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"answer": " {foo}"}, "not filled in"),
        ({"letter": "{stem.x}{choices}"}, "not filled in"),
        ({"letter": "{stem}{"}, "no format string"),
        ({"letter": "{choices}"}, "has no {stem}"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(
    template: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        task_from([{"set": "prompt", **template}, *rows(WORDS[:8])], rows(WORDS[8:]))


def test_settings_without_effect_are_refused() -> None:
    for setting in ({"chat": "user"}, {"twins": "file.jsonl"}, {"retain": "mmlu"}):
        with pytest.raises(ValueError, match=f"does not take the setting {next(iter(setting))}"):
            task_from(rows(WORDS[:8]), rows(WORDS[8:]), config=TaskConfig(**setting))
    with pytest.raises(ValueError, match="unknown task"):
        TaskConfig(chat="usr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="half a character"):
        task_from([*rows(WORDS[:8]), *rows(["\ud83d"])], rows(WORDS[8:]))


def test_a_measure_that_is_named_is_the_one_that_is_taken(organism: HookedModel) -> None:
    task = load_task("organism")
    asked = task.forget[:8]
    named = score(organism, asked, task, scoring="cloze")
    assert np.allclose(named.logits, score(organism, asked, task.prompt, scoring="cloze").logits)
    with pytest.raises(ValueError, match="no such"):
        score(organism, asked, task, scoring="no such measure")
    with pytest.raises(ValueError, match="budget=-1"):
        score(organism, asked, task, budget=-1)
