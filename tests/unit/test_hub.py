"""Local copies of the Hub's data sets give their own rows, and say what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn.tasks.hub import HubSet, rows

PART = HubSet("owner/questions", "all", "test", "main")


def test_a_copy_gives_its_own_rows(tmp_path: Path, as_on_hub: Callable[..., None]) -> None:
    for text in ("first", "second"):
        as_on_hub(tmp_path / text / PART.id, {"all": {"test": [{"text": text}]}})
        assert [row["text"] for _, row in rows(PART, str(tmp_path / text))] == [text]


def test_what_is_wrong_with_a_copy_is_said(tmp_path: Path, as_on_hub: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*run 'hf download owner/questions"):
        list(rows(PART, str(tmp_path)))
    copy = tmp_path / PART.id
    as_on_hub(copy, {"all": {"train": [{"text": "x"}]}})
    with pytest.raises(ValueError, match=r"owner/questions.* cannot be read in .*split"):
        list(rows(PART, str(tmp_path)))
    (copy / "all" / "test.parquet").write_bytes(b"")
    card = copy / "README.md"
    card.write_text(card.read_text().replace("train", "test"))
    with pytest.raises(ValueError, match="cannot be read in"):
        list(rows(PART, str(tmp_path)))
