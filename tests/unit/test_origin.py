"""Notes of what things were made from: the same goes on, another is refused, none is said."""

from pathlib import Path

import pytest

from mechunlearn.train.origin import OtherOriginError, claim, differences

MADE_FROM = {"seed": 0, "recipe": {"steps": 4, "rates": (0.1, 0.2)}, "questions": "3a"}


def test_a_note_is_written_before_and_compared_after(tmp_path: Path) -> None:
    note, made = tmp_path / "note.json", tmp_path / "made"
    claim(note, made, {"seed": 1})
    claim(note, made, MADE_FROM)  # Nothing was made yet, so nothing is refused.
    made.mkdir()
    claim(note, made, MADE_FROM)
    with pytest.raises(OtherOriginError, match=r"made differs .*: seed and recipe \(steps 4, now"):
        claim(note, made, {**MADE_FROM, "seed": 1, "recipe": {"steps": 5, "rates": (0.1, 0.2)}})
    claim(note, made, MADE_FROM)  # A refusal leaves the note as it was.


def test_what_has_no_note_is_taken_up_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # What is not known stays so.
        claim(tmp_path / "note.json", tmp_path, MADE_FROM)
        assert "seed, recipe and questions are not known" in capsys.readouterr().err
    assert not (tmp_path / "note.json").exists()


def test_differences_name_what_is_known_of_both() -> None:
    assert not differences(MADE_FROM, MADE_FROM | {"more": 1})
    assert differences(MADE_FROM, {"questions": "4b"}) == "questions"
    assert differences({"set": {"a": "1"}}, {"set": {}}) == "set (a 1, now not set)"
    assert differences({"set": {"a": "1" * 50}}, {"set": {"a": "2"}}) == "set (a)"
