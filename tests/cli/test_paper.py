"""Paper mode: the published numbers are all there, and our table stands beside them."""

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.report.table import show_paper
from mechunlearn.studies.paper import ATTACKS, Cell, column_of, paper
from mechunlearn.studies.published import COLUMNS, COUNTS, TABLE, published


def test_all_published_cells_are_there_once() -> None:
    assert sum(value is not None for row in TABLE.values() for value in row) == 33
    assert {attack for _, attack in TABLE} == set(ATTACKS)
    for (name, attack, column), right in COUNTS.items():
        share = TABLE[name, attack][COLUMNS.index(column)]
        assert share == pytest.approx(100 * right / 1273, abs=0.05)
    assert published("forget", "enhanced GCG", "rmu") == (686, 1273)


def test_a_cell_says_how_far_it_is_from_the_published_one() -> None:
    cell = Cell(
        set="forget", attack="default decoding", model="m", column="original", right=820, n=1273,
        settings={}, tried=1, seconds=0.0,
    )  # fmt: skip
    low, high = cell.difference[1:]
    assert cell.difference[0] == 0
    assert -0.04 < low < 0 < high < 0.04
    assert msgspec.structs.replace(cell, column="").difference is None
    far = msgspec.structs.replace(cell, right=600)
    assert far.difference[2] < -0.1


def test_models_find_their_column() -> None:
    names = ("cais/Zephyr_RMU", "J4Q8/zephyr-npo-bio", "J4Q8/zephyr-dpo-cyber", "mine")
    assert [column_of(n) for n in names] == ["rmu", "npo", "dpo", ""]


@pytest.mark.long
def test_the_whole_table_on_tiny_models(
    tiny_plan: AuditPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my-rmu"
    folder.symlink_to(tiny_plan.unlearned[0])
    plan = dataclasses.replace(
        tiny_plan,
        unlearned=(str(folder),),
        control="none",
        attacks=("gcg", "pruning_weights"),
        changes=(
            "gcg.search.steps=1",
            "gcg.questions=2",
            "gcg.objective.layers=(1,)",
            "pruning_weights.levels=(0.05,0.2)",
            "pruning_weights.examples=4",
        ),
    )
    cells = paper(plan, tmp_path / "out")
    ours = {(c.set, c.attack, c.column) for c in cells}
    assert ours == {
        (name, attack, column)
        for (name, attack), row in TABLE.items()
        for column, value in zip(COLUMNS, row, strict=True)
        if value is not None and column in ("original", "rmu")
    }
    assert all(c.difference is not None and 0 <= c.accuracy <= 1 for c in cells)
    tried = {c.attack: c.tried for c in cells if c.column == "rmu"}
    assert tried["logit lens"] == 12
    assert tried["finetuning"] == 2  # 5 and 10 of 24 examples.
    show_paper(cells)
    assert "64.4" in capsys.readouterr().out
    file = tmp_path / "out" / "paper.json"
    before = file.read_bytes()
    assert paper(plan, tmp_path / "out") == cells  # Nothing is computed twice.
    assert file.read_bytes() == before
    assert len(json.loads(before)["cells"]) == len(cells)
    with pytest.raises(ValueError, match="another table"):
        paper(dataclasses.replace(plan, seed=1), tmp_path / "out")
