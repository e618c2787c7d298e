"""Write an organism: fp16 weights, and a card with what it was measured to know."""

import hashlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechunlearn.models import load
from mechunlearn.models.identity import arithmetic
from mechunlearn.models.tokenizer import save_tokenizer
from mechunlearn.models.writer import say_rotary_base
from mechunlearn.records import Plain
from mechunlearn.train import TrainLog, Watch
from mechunlearn.train.origin import claim
from mechunlearn.types import HookedModel


def clocked(every: int, state: Path) -> Watch:
    """Keep a checkpoint every so many steps, and note the time."""
    return Watch(every, lambda _: {"cpu_seconds": time.process_time()}, state)


def claim_checkpoint(watch: Watch | None, about: Mapping[str, Plain]) -> None:
    """Note beside a checkpoint what is trained, before it is; or refuse that of another training.

    A checkpoint without a note, as earlier versions wrote them, is taken up, and that is said.

    Args:
        about: What decides the weights: role, seed, recipe, what is taught.

    Raises:
        OtherOriginError: If the checkpoint that is there belongs to something else.
    """
    if watch is not None and watch.state is not None:
        claim(_note(watch.state), watch.state, {**about, "versions": arithmetic()})


def drop_checkpoint(state: Path) -> None:
    """Remove a checkpoint that is no longer needed, and its note."""
    state.unlink(missing_ok=True)
    _note(state).unlink(missing_ok=True)


def _note(state: Path) -> Path:
    return state.with_suffix(".json")


def course(log: TrainLog) -> Plain:
    """What a card says of a training that was ``clocked``, also if it was stopped in between.

    ``curves`` are means of each loss term since the step before, in the order of ``step``; of
    terms that every step had.
    """
    clock = [measured["cpu_seconds"] for measured in log.measured]
    steps = [int(measured["step"]) for measured in log.measured]
    curves = {
        name: [round(statistics.fmean(values[a:b]), 4) for a, b in itertools.pairwise(steps)]
        for name, values in log.terms.items()
        if len(values) == log.steps
    }
    return {
        "cpu_seconds": round(sum(max(0.0, b - a) for a, b in itertools.pairwise(clock))),
        "loss": {name: round(values[-1], 4) for name, values in log.terms.items()},
        "curves": {"step": steps[1:], **curves},
    }


def model_files(model: PreTrainedModel, words: PreTrainedTokenizerFast) -> Callable[[Path], None]:
    """What writes a model and its tokenizer."""

    def write(folder: Path) -> None:
        model.half().save_pretrained(folder)
        save_tokenizer(words, folder)
        say_rotary_base(folder)

    return write


def write_organism(
    write: Callable[[Path], None],
    target: Path,
    about: Plain,
    measured: Callable[[HookedModel], Plain],
) -> None:
    """Write a complete folder or none.

    Args:
        write: Leaves one file of weights, and what else a folder needs to be loaded.
        about: What the card says first: role, seed, recipe.
        measured: What the card says of the model as it is read back from disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as staging:
        folder = Path(staging)
        write(folder)
        (weights,) = folder.glob("*.safetensors")
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        card = {**about, **measured(load(staging)), "sha256": sha256}
        (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        for file in folder.iterdir():
            file.chmod(0o644)
        folder.rename(target)
        target.chmod(0o755)
        folder.mkdir()  # So that the temporary folder can be removed.
