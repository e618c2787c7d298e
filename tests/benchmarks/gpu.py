"""Speed and memory on one GPU, of all that an audit does: a table, and a JSON file.

    python tests/benchmarks/gpu.py --out gpu.json --profile      # in under ten minutes
    python tests/benchmarks/gpu.py --config tiny --out tiny.json # the same on a CPU, in a minute

The weights are random, the sizes those of Mistral 7B, in bfloat16, with its vocabulary where
``mistral-common`` is installed. They are written to a folder once (14.5 GB; ``--folder`` keeps it)
and loaded from there. A rate is that of the median of some repeats after one that does not count; a
part that fails, such as for want of memory, is reported and the others go on.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import copy, which
from statistics import median

import torch
from gpu_parts import Parts, Sizing, now
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig

from mechunlearn.bench.batches import batches, tokens_of
from mechunlearn.hooks import metered
from mechunlearn.models import load
from mechunlearn.models.sets import SETS
from mechunlearn.organisms.chat_tokenizer import chat_tokenizer

FULL = Sizing(
    questions=512, few=128, prompts=64, new=64, examples=16, steps=6, width=32, repeats=3, padding=4
)
TINY = Sizing(
    questions=24, few=8, prompts=4, new=4, examples=4, steps=3, width=6, repeats=1, padding=1
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one part."""

    part: str
    unit: str = ""
    amount: float = 0.0
    """Of the unit, in one repeat."""
    seconds: float = 0.0
    """Of one repeat, the median."""
    rate: float = 0.0
    """Units a second."""
    tflops: float | None = None
    """Arithmetic of the blocks' matrices per second, by the tokens that ran."""
    of_bare: float | None = None
    """Share of the speed of plain forwards over the same prompts, one prompt a row; above 1 where
    shared tokens are computed once."""
    peak: float | None = None
    """Bytes on the device, on a GPU only."""
    estimate: float | None = None
    """Bytes that the package foretells."""
    error: str = ""


def measured(part: str, parts: Parts, sizing: Sizing) -> Row:
    """Run one part: once to warm up, then as often as is asked for."""
    todo = parts.todo(part)
    todo.run()
    times, flops = [], []
    if parts.cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(sizing.repeats):
        start = now(parts.cuda)
        with metered() as meter:
            inside = todo.run()
        # Parts of steps say how long each took, without what comes before the first.
        times.append(now(parts.cuda) - start if inside is None else inside)
        flops.append(parts.matrix_flops(meter.flops) if inside is None else 0.0)
    seconds, rate = median(times), todo.amount / median(times)
    return Row(
        part,
        todo.unit,
        todo.amount,
        round(seconds, 4),
        round(rate, 4),
        tflops=round(median(flops) / seconds / 1e12, 4) if any(flops) else None,
        of_bare=round(rate * todo.bare, 4) if todo.bare else None,
        peak=float(torch.cuda.max_memory_allocated()) if parts.cuda else None,
        estimate=todo.estimate,
    )


def vocabulary(folder: Path, tiny: bool) -> object:
    """Mistral's tokenizer where its package is there; else one that is made in memory."""
    package = None if tiny else find_spec("mistral_common")
    if package is None or package.origin is None:
        chat_tokenizer().save_pretrained(folder)
    else:
        copy(
            Path(package.origin).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model"
        )
        settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
        settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "</s>"}))
    return AutoTokenizer.from_pretrained(folder)


def written(folder: Path, tiny: bool, device: str) -> Path:
    """The folder, with random weights and a tokenizer in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").is_file():
        tokens = len(vocabulary(folder, tiny))  # type: ignore[arg-type]
        values = dict(SETS["zephyr"].configuration)
        values.pop("model_type")
        if tiny:
            values |= {"vocab_size": tokens, "hidden_size": 64, "intermediate_size": 128}
            values |= {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = MistralConfig(bos_token_id=1, eos_token_id=2, **values)
        torch.manual_seed(0)
        with torch.device(device):  # Seven billion random numbers take minutes on a host.
            dtype = torch.float32 if tiny else torch.bfloat16
            plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
        plain.save_pretrained(folder)
    return folder


def machine(device: str) -> dict[str, str]:
    """Card, driver and versions."""
    found = {p: version(p) for p in ("mechunlearn", "torch", "transformers", "transformer-lens")}
    found |= {"card": f"none: {platform.processor() or 'CPU'}", "driver": "", "cuda": ""}
    found["threads"] = str(torch.get_num_threads())
    if device.startswith("cuda"):
        found |= {"card": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
        if which("nvidia-smi"):
            ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
            found["driver"] = said.partition("\n")[0].strip()
    return found


@torch.no_grad()
def bare(parts: Parts) -> dict[str, float]:
    """Seconds a question of plain forwards over whole prompts, in batches of equal tokens.

    The plain model is gone afterwards.
    """
    dtype = getattr(torch, parts.dtype)
    plain = AutoModelForCausalLM.from_pretrained(
        parts.folder, dtype=dtype, device_map={"": parts.device}
    ).eval()
    budget = tokens_of(parts.device.partition(":")[0], parts.shape.d_model)
    found = {}
    for part in ("letters, zero-shot", "letters, five-shot", "cloze"):
        rows = parts.tokenizer(parts.prompts(part))["input_ids"]
        asked = len(parts.few if part == "cloze" else parts.task.forget)
        every = []
        for batch in batches([len(row) for row in rows], budget):
            width = max(len(rows[i]) for i in batch)
            padded = [rows[i] + [0] * (width - len(rows[i])) for i in batch]
            every.append(torch.tensor(padded, device=parts.device))
        times = []
        for _ in range(1 + parts.sizing.repeats):
            start = now(parts.cuda)
            for tokens in every:
                plain(tokens, use_cache=False, logits_to_keep=1)
            times.append(now(parts.cuda) - start)
        found[part] = median(times[1:]) / asked
    return found


def loading(folder: Path, device: str, parts: Parts) -> Row:
    """Read the folder straight onto the device, hook and test; the median of two."""
    times = []
    gigabytes = sum(f.stat().st_size for f in folder.glob("*.safetensors")) / 1e9
    for _ in range(2):
        parts.model = None  # type: ignore[assignment]  # Two would not fit.
        if parts.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = now(parts.cuda)
        parts.model = load(str(folder), device=device)
        times.append(now(parts.cuda) - start)
    seconds = median(times)
    peak = float(torch.cuda.max_memory_allocated()) if parts.cuda else None
    rate = round(gigabytes / seconds, 4)
    estimate = parts.loaded_bytes
    return Row("loading", "GB", gigabytes, round(seconds, 4), rate, peak=peak, estimate=estimate)


def guarded(part: str, run: Callable[[], Row]) -> Row:
    """What a part found, or why it did not."""
    try:
        return run()
    except Exception as error:  # The other parts are worth having.
        lines = str(error).splitlines() or [""]
        return Row(part, error=f"{type(error).__name__}: {lines[0]}")


def table(rows: Sequence[Row]) -> str:
    """For people."""
    lines = [
        f"{'part':22} {'rate':>12} {'unit':16} {'seconds':>8} {'TFLOP/s':>8} {'of bare':>8} "
        f"{'peak':>8} {'estimate':>8}"
    ]
    for row in rows:
        if row.error:
            lines.append(f"{row.part:22} {row.error}")
            continue
        more = (row.tflops, row.of_bare, *(x and x / 1e9 for x in (row.peak, row.estimate)))
        cells = " ".join(f"{'' if x is None else f'{x:.3g}':>8}" for x in more)
        lines.append(
            f"{row.part:22} {row.rate:12.4g} {row.unit + '/s':16} {row.seconds:8.3g} {cells}"
        )
    return "\n".join([*lines, "peak and estimate in GB"])


def profiled(parts: Parts, rows: Sequence[Row], slowest: int) -> str:
    """Where the time of the slowest parts goes."""
    ran = [row for row in rows if not row.error and row.part != "loading"]
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if parts.cuda else []
    by, found = "self_device_time_total" if parts.cuda else "self_cpu_time_total", list[str]()
    for row in sorted(ran, key=lambda r: -r.seconds)[:slowest]:
        todo = parts.todo(row.part)
        with torch.profiler.profile(activities=kinds) as profile:
            todo.run()
            now(parts.cuda)
        found.append(f"{row.part}\n{profile.key_averages().table(sort_by=by, row_limit=20)}")
    return "\n".join(found)


def main() -> int:
    """Returns 1 if a part failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", choices=("mistral-7b", "tiny"), default="mistral-7b")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--folder", type=Path, help="where the weights are, or are to stay")
    parser.add_argument("--parts", nargs="*", help="only these; default: all")
    parser.add_argument("--profile", nargs="?", type=int, const=1, default=0, metavar="N",
                        help="of the N slowest parts; without N of one")  # fmt: skip
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    tiny, begin = given.config == "tiny", time.perf_counter()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not tiny:
        parser.error("there is no CUDA GPU here; --config tiny runs on a CPU")
    sizing, about = TINY if tiny else FULL, machine(device)
    rows: list[Row] = []

    def note(row: Row) -> None:
        rows.append(row)
        seconds = time.perf_counter() - begin
        report = {**about, "config": given.config, "dtype": parts.dtype}
        report |= {"seconds": round(seconds, 1), "rows": [dataclasses.asdict(r) for r in rows]}
        given.out.write_text(json.dumps(report, indent=1) + "\n")  # A stopped run leaves these.
        sys.stderr.write(f"{seconds:6.1f} s  {row.part}\n")

    with tempfile.TemporaryDirectory() as scratch:
        folder = written(given.folder or Path(scratch), tiny, device)
        parts = Parts(folder, sizing, device)
        parts.bare = bare(parts)
        note(guarded("loading", lambda: loading(folder, device, parts)))
        for part in given.parts or parts.names:
            note(guarded(part, lambda part=part: measured(part, parts, sizing)))
        profile = profiled(parts, rows, given.profile)
    sys.stdout.write(f"{about['card']}, torch {about['torch']}\n{table(rows)}\n{profile}\n")
    return int(any(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
