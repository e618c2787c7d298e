"""What the commands share: options, and how they speak."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

ModelOpt = Annotated[str, typer.Option("--model", help="Name, folder, .gguf file or Hub id.")]
OriginalOpt = Annotated[str, typer.Option("--original", help="The model before unlearning.")]
ModelsOpt = Annotated[
    str, typer.Option("--models", help="A published set instead of --original, --unlearned: zephyr")
]
DtypeOpt = Annotated[
    str, typer.Option("--dtype", help="auto, float32, bfloat16, float16, 8bit or 4bit.")
]
DeviceOpt = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1; map: over all GPUs.")
]
ControlOpt = Annotated[
    str, typer.Option("--control", help="Never-knew model; auto: an organism's twin; none.")
]
TaskOpt = Annotated[
    str, typer.Option("--task", help="A name (mechunlearn list) or a file; default: by model.")
]
SeedOpt = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
OutOpt = Annotated[Path | None, typer.Option("--out", help="Folder for the results.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print only machine-readable results.")]


UnlearnedOpt = Annotated[
    list[str] | None, typer.Option("--unlearned", help="A model somebody unlearned; repeatable.")
]
MethodOpt = Annotated[
    list[str] | None,
    typer.Option("--method", help="Unlearn it here with these; comma-separated."),
]
AttacksOpt = Annotated[
    str, typer.Option("--attacks", help="Comma-separated, or all; default: one of each family.")
]
ChangeOpt = Annotated[
    list[str] | None, typer.Option("--set", help="rmu.alpha=3 and the like; repeatable.")
]
LimitOpt = Annotated[
    float,
    typer.Option(
        "--retain-limit",
        help="Largest loss of retain accuracy of an attack; relearning may cost more.",
    ),
]


def say(text: str) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(" ".join(text.split()) + "\n")


def print_json(data: Any) -> None:
    """A result to standard output."""
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
