"""The command line: results on stdout only as JSON, one line and exit code 2 for every mistake."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cli.guide import FOLDER
from mechunlearn.models import ORGANISMS

Done = subprocess.CompletedProcess[str]


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['x', '--help']; from mechunlearn.cli import main\n"
    code += "try: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "audit" in done.stdout
    assert done.stdout.rstrip().endswith("False")


def test_list_and_the_guide_name_every_method(run: Callable[..., Done]) -> None:
    names = json.loads(run("list", "--json").stdout)
    assert set(names["attacks"]) >= {"direction_ablation", "logit_lens"}
    table = run("list", "--markdown").stdout
    assert table in (FOLDER / "attacks.md").read_text()


@pytest.mark.ci
def test_bench_prints_json_alone(run: Callable[..., Done]) -> None:
    done = run("bench", "--model", "organism:never_knew", "--json")
    found = json.loads(done.stdout)
    assert found["retain"]["accuracy"] >= 0.95
    low, high = found["forget"]["accuracy_ci"]
    assert low <= 0.25 <= high


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit", "--original", "organism:orignal"), "did you mean"),
        (("audit", "--unlearned", "./nowhere"), "there is no folder"),
        (("audit", "--engine", "rai"), "did you mean 'ray'"),
        (("audit", "--budget", "ten"), "a positive time such as"),
        (("audit", "--out", "/proc/mechunlearn"), "cannot be written"),
        (("audit", "--task", "capitels"), "did you mean 'capitals'"),
        (("audit", "--attacks", "logit_lense"), "did you mean 'logit_lens'"),
        (("audit", "--method", "rmv"), "did you mean 'rmu'"),
        (("audit", "--set", "npo.beta=1"), "not among the methods"),
        (("audit", "--set", "logit_lens.layer=1"), "has no settings"),
        (("audit", "--set", "pruning_weights.levels=(0.0, 0.1)"), "shares p and q in (0, 1]"),
        (("audit", "--set", "pruning_weights.level=(0.1,)"), "did you mean 'levels'"),
        (("audit", "--set", "relearning_disjoint.lora.targets=('gat',)"), "did you mean 'gate'"),
        (("audit", "--set", "perturbation_naive.rates=(2.0,)"), "chances in (0, 1]"),
        (("unlearn", "rmu", "--out", "x", "--set", "alhpa=1"), "did you mean 'alpha'"),
        (("unlearn", "rmu", "--out", "x", "--preset", "paper"), "do not exist"),
        (("report", "nowhere"), "nowhere cannot be read"),
        (("diff", "nowhere", "nowhere"), "nowhere cannot be read"),
        (("rerun", "one_choice.jsonl"), "describes no run"),
        (("validate", "--seeds", "ten"), "takes whole numbers"),
        (("validate", "--conditions", "strange"), "did you mean 'stranger'"),
        (("audit", "--task", "one_choice.jsonl"), "has 1 choice"),
    ],
)
def test_mistakes_are_one_line(
    run: Callable[..., Done], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    item = {"set": "forget", "stem": "a", "choices": ["b"], "answer": 0}
    (tmp_path / "one_choice.jsonl").write_text(json.dumps(item))
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["one_choice.jsonl"]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "relearning_disjoint.samples=9999"), "samples=9999, but there are only "),
        (
            (
                "--set",
                "relearning_disjoint.lora.rank=2",
                "--set",
                "relearning_disjoint.lora.targets=('gate',)",
            ),
            "match nothing",
        ),
        (("--task", "one_fold.jsonl"), "no questions in the confirm fold"),
    ],
)
def test_data_and_targets_that_do_not_suffice_are_told(
    run: Callable[..., Done],
    tiny_plan: AuditPlan,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Mistakes that show only once the models are there."""
    item = {"choices": ["amber", "coral"], "answer": 0, "fold": "select"}
    lines = [item | {"set": s, "stem": f"{s} ?", "source": s} for s in ("forget", "retain")]
    (tmp_path / "one_fold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ("--unlearned", "organism:never_knew", "--control", "none", "--task", tiny_plan.task)
    done = run("audit", *given, "--attacks", "relearning_disjoint", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


GOOD = {"set": "forget", "stem": "2 + 2 =", "choices": ["3", "4"], "answer": 1}
BAD_QUESTIONS = {
    "no_answer.jsonl": (b'{"question": "a", "choices": ["b", "c"]}', "line 1: no column answer/"),
    "no_choices.csv": (b"question,answer\na,0\n", "line 2: no column choices/options; there is"),
    "index.jsonl": (json.dumps(GOOD | {"answer": 2}).encode(), "line 1: .* index 2 is not one of"),
    "letter.csv": (b"question,A,B,answer\na,b,c,D\n", "line 2: the answer 'D' is no choice"),
    "ids.jsonl": (
        b"\n".join(json.dumps(GOOD | {"id": i}).encode() for i in ("x", "y", "x")),
        "line 3: the id 'x' is in line 1 too",
    ),
    "utf16.jsonl": (json.dumps(GOOD).encode("utf-16"), "is UTF-16 text; convert it"),
    "latin1.csv": ("question,A,B,answer\né,b,c,A\n".encode("latin-1"), "line 2 is not UTF-8"),
    "long.jsonl": (
        json.dumps(GOOD | {"stem": "a" * 10_000_000}).encode(),
        "line 1 has more than 1,000,000 characters",
    ),
    "long.csv": (b"question,A,B,answer\n" + b"a" * 10_000_000, "line 2 has more than 1,000,000"),
    "ragged.csv": (b"question,A,B,answer\na,b\n", "line 2 has other columns"),
    "array.jsonl": (b"[1, 2]", "line 1 is no JSON object"),
    "object.json": (json.dumps(GOOD).encode(), "is no list of rows"),
    "words.json": (b'["a"]', "words.json, row 1 is str, not a row"),
    "both.json": (json.dumps({"retain": [GOOD]}).encode(), "retain, row 1 says .* set is 'forget'"),
    "torn.parquet": (b"PAR1", "is no Parquet file"),
    "other.xlsx": (b"PK", "none of .jsonl, .json, .csv, .tsv, .parquet"),
    "empty.jsonl": (b"\n", "holds no questions"),
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_bad_question_files_are_one_line(
    run: Callable[..., Done], tmp_path: Path, name: str
) -> None:
    content, message = BAD_QUESTIONS[name]
    (tmp_path / name).write_bytes(content)
    for command in ("bench", "audit"):
        done = run(command, "--task", name)
        assert done.returncode == 2
        assert re.search(message, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1
        assert len(done.stderr) < 400
        assert done.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_benchmarks_that_are_not_there_are_one_line(run: Callable[..., Done]) -> None:
    for arguments in (
        ("bench", "--task", "mmlu"),
        ("audit", "--task", "wmdp-bio", "--original", "organism:original"),
        ("unlearn", "rmu", "--task", "wmdp-cyber", "--set", "task.corpora=True"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert re.search("cais/(mmlu|wmdp)@.*hf download cais/", done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1


def test_benchmarks_are_scored_and_described(
    run: Callable[..., Done], hub_copies: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = ("--set", f"task.data={hub_copies}", "--json")
    found = json.loads(run("bench", "--task", "wmdp-bio", *data).stdout)
    assert found["wmdp-bio"]["n"] == 30
    found = json.loads(run("bench", "--task", "mmlu", *data, "--set", "task.per_topic=2").stdout)
    assert found["mmlu"]["n"] == 6
    found = json.loads(run("task", "wmdp-bio", *data).stdout)
    assert found["questions"] == {
        "forget, select": 12,
        "forget, confirm": 18,
        "retain, select": 12,
        "retain, confirm": 24,
    }
    assert found["overlap"]["plain text"] == {"n": 18, "eight_words": 0, "whole_facts": 0}


def test_nothing_is_overwritten(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    for command in (("audit",), ("unlearn", "rmu")):
        done = run(*command, "--out", str(tmp_path))
        assert done.returncode == 2
        assert "overwritten" in done.stderr or "nothing was written" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_checkpoint_is_one_line(run: Callable[..., Done], tmp_path: Path) -> None:
    for file in (ORGANISMS / "original@0").iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data[:9999] if file.suffix == ".safetensors" else data)
    done = run("bench", "--model", str(tmp_path))
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
