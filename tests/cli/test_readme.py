"""The README keeps its promises."""

import re
from pathlib import Path

import pytest

from mechunlearn.cli import app, organism_app

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_commands_and_options_exist() -> None:
    commands = {
        c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands
    }
    commands |= {"organism"} | {c.name or "" for c in organism_app.registered_commands}
    for command in re.findall(r"^mechunlearn (\w+)", README, flags=re.MULTILINE):
        assert command in commands


def test_files_it_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)h#][^)]*)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target


@pytest.mark.slow
def test_the_tour_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    hidden, back = re.findall(r"Score\([^:]*: (0\.\d+|1\.0+)", capsys.readouterr().out)[:2]
    assert float(hidden) < 0.35
    assert float(back) > 0.8
