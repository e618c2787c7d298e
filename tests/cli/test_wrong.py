"""Wrong commands and inputs, beside those of ``test_errors``: one line, exit 2, nothing lost."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "mechunlearn" / "organisms" / "shipped" / "original@0"
QUESTION = '{{"set":"{}","stem":"q","choices":{},"answer":{}}}\n'
FILES = {
    "a_file": "kept",
    "empty.jsonl": "",
    "empty.csv": "",
    "bad.csv": "a,b\n1,2\n",
    "one_choice.jsonl": QUESTION.format("forget", '["a"]', 0),
    "no_answer.jsonl": QUESTION.format("forget", '["a","b"]', 7),
    "forgot.jsonl": QUESTION.format("forgot", '["a","b"]', 0),
    "fake.parquet": "PAR1xxxxPAR1",
    "list.json": "[1,2]",
    "empty.json": "{}",
    "future.json": '{"schema": 99, "runcard": {}, "rows": []}',
    "no.toml": "this is = = not toml",
    "key.toml": 'attakcs = ["gcg"]\n',
    "type.toml": 'seed = "one"\n',
    "no_model/config.json": "{}",
    "pickle/config.json": '{"model_type":"gpt2","architectures":["GPT2LMHeadModel"]}',
    "pickle/pytorch_model.bin": "junk",
}
RUN = str(ROOT / "figures" / "audit-organism")
WRONG = [
    ("bench --task nosuch", "unknown task 'nosuch'"),
    ("bench --task nosuch.jsonl", "there is no file nosuch.jsonl"),
    ("bench --task empty.jsonl", "holds no questions"),
    ("bench --task empty.csv", "holds no questions"),
    ("bench --task bad.csv", "line 2: no column stem"),
    ("bench --task one_choice.jsonl", "has 1 choice(s)"),
    ("bench --task no_answer.jsonl", "index 7 is not one of 0..1"),
    ("bench --task forgot.jsonl", "'set' is 'forgot'"),
    ("bench --task fake.parquet", "is no Parquet file"),
    ("bench --task list.json", "row 1 is int, not a row with named columns"),
    ("bench --set shots=5", "takes only settings of the task"),
    ("bench --set task.shots=-1", "numbers from 0 on"),
    ("bench --set task.shots=many", "not of the same type"),
    ("bench --set task.nosuch=1", "unknown setting 'nosuch'"),
    ("bench --set task.also=likeliest", "bench measures in one way"),
    ("validate --set task.scoring=cloze", "how models are asked is part of a validation"),
    ("bench --model nosuch", "Give --task"),
    ("bench --model organism:orignal", "did you mean 'organism:original'"),
    ("bench --model '' --task organism", "name is empty"),
    ("bench --model a_file --task organism", "unknown model 'a_file'"),
    ("bench --model no_model --task organism", "holds no .safetensors"),
    ("bench --model pickle --task organism", "pickle checkpoints are refused"),
    ("bench --model cut_short --task organism", "the weights of cut_short are damaged"),
    ("bench --model wordless --task organism", "has no tokenizer files"),
    ("bench --beside nosuch.json", "cannot be read"),
    ("bench --beside list.json", 'has no "results"'),
    ("bench --lm-eval a_file", "choose another --lm-eval"),
    ("task organism --set shots=1", "takes only settings of the task"),
    ("task organism --model nosuch", "unknown model 'nosuch'"),
    ("audit --unlearned nosuch", "unknown model 'nosuch'"),
    ("audit --unlearned x --unlearned x", "names 'x' twice"),
    ("audit --unlearned a/x --unlearned ./a/x", "'a/x' and './a/x' are one folder"),
    ("audit --control a/x --control a/../a/x", "'a/x' and 'a/../a/x' are one folder"),
    ("audit --seed 4294967295 --seeds 3", "a whole number from 0 to 2^32 - 1, not 4294967297"),
    ("audit --fail-if ,", "--fail-if ',' names nothing"),
    ("audit --attacks ,", "--attacks ',' names nothing"),
    ("audit --method ,", "--method ',' names nothing"),
    ("paper --unlearned x --attacks ,", "--attacks ',' names nothing"),
    ("validate --conditions ,", "--conditions ',' names nothing"),
    ("validate --seeds ,", "--seeds ',' names nothing"),
    ("audit --set rmu.alpha=3 --set rmu.alpha=4", "--set names 'rmu.alpha' twice"),
    ("task organism --set task.shots=1 --set task.shots=2", "--set names 'task.shots' twice"),
    ("audit --unlearned =x", "is no LABEL=MODEL"),
    ("audit --method nosuch", "unknown method 'nosuch'"),
    ("audit --attacks nosuch", "unknown attack 'nosuch'"),
    ("audit --attacks logit_lens,logit_lens", "twice"),
    ("audit --control none --control auto", "cannot stand beside other controls"),
    ("audit --attacks logit_lens --set nosuch.x=1", "is for 'nosuch'"),
    ("audit --attacks logit_lens --set logit_lens.x=1", "has no settings"),
    ("audit --attacks logit_lens --set logit_lens", "is no NAME.key=value"),
    ("audit --attacks logit_lens --set logit_lens=1", "is no NAME.key=value"),
    ("audit --attacks logit_lens --set =1", "is no NAME.key=value"),
    ("audit --budget soon", "a positive time"),
    ("audit --budget 0", "a positive time"),
    ("audit --retain-limit 2", "a share of accuracy"),
    ("audit --seeds 0", "a number from 1 on"),
    ("audit --threads -1", "a number from 0"),
    ("audit --dtype float8", "unknown dtype 'float8'"),
    ("audit --device tpu", "unknown device 'tpu'"),
    ("audit --planted maybe", "unknown planted 'maybe'"),
    ("audit --engine spark", "unknown engine 'spark'"),
    ("audit --track nosuch", "unknown tracker 'nosuch'"),
    ("audit --fail-if gone", "unknown verdict of --fail-if 'gone'"),
    ("audit --models nosuch", "unknown set of models"),
    ("audit --models zephyr --original x", "leave out --original"),
    ("audit --plan nosuch.toml", "there is no plan file"),
    ("audit --plan no.toml", "is not valid TOML"),
    ("audit --plan key.toml", "did you mean 'attacks'"),
    ("audit --plan type.toml", "Expected a whole number"),
    ("audit --plan no.toml --seed 3", "leave out --seed"),
    ("attack gcg --unlearned x --preset nosuch", "unknown preset 'nosuch'"),
    ("report empty.json", "is no mechunlearn report"),
    ("report future.json", "schema: 99"),
    ("report list.json", "is no mechunlearn report"),
    (f"report {RUN} {RUN}", "given twice"),
    (f"report {RUN} --out folder", "folder exists"),
    (f"report {RUN} --out no/page.html --board", "check the path"),
    (f"report {RUN} {RUN} --card", "--card is of one run"),
    ("report folder --board", "cannot be read"),
    ("diff empty.json", "Missing argument 'second'"),
    (f"figures {RUN} --kind nosuch", "has no figure 'nosuch'"),
    (f"export {RUN} --out a_file", "File exists: 'a_file'; check the path"),
    ("rerun list.json", "describes no run"),
    ("guide nosuch", "unknown page 'nosuch'"),
    ("unlearn rmu --out o --set nosuch=1", "unknown setting 'nosuch'"),
    ("unlearn rmu --out o --preset nosuch", "unknown preset 'nosuch'"),
    ("unlearn rmu --out o --dtype int3", "unknown dtype 'int3'"),
    ("unlearn rmu npo --out o", "unexpected extra argument"),
    ("validate --seeds x", "takes whole numbers"),
    ("validate --conditions nosuch", "unknown condition"),
    ("validate --twins folder --seeds 3", "folder has no original@3 and no never_knew@3: make"),
    ("validate --twins folder --chat", "give one of them"),
    ("paper", "give --unlearned"),
    ("organism train --kind nosuch", "unknown kind of organism"),
    ("organism train --role nosuch", "unknown role"),
    ("list --nosuch", "No such option"),
    ("doctor extra", "unexpected extra argument"),
    ("plan --seed x", "Invalid value for '--seed'"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and folders that are not what they are given as."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "folder").mkdir()
    for name in ("cut_short", "wordless"):
        shutil.copytree(SHIPPED, folder / name)
    weights = folder / "cut_short" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (folder / "wordless" / "tokenizer.json").unlink()
    return folder


@pytest.mark.parametrize(("command", "message"), WRONG, ids=[c for c, _ in WRONG])
def test_one_line_and_nothing_lost(
    run: Callable[..., CompletedProcess[str]],
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    message: str,
) -> None:
    before = {file: file.stat().st_mtime_ns for file in inputs.rglob("*")}
    monkeypatch.chdir(inputs)
    done = run(*(word.strip("'") for word in command.split(" ")))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "may be a bug" not in done.stderr
    assert {file: file.stat().st_mtime_ns for file in inputs.rglob("*")} == before
