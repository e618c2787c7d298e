"""Number formats and devices: what ``from_pretrained`` is told."""

import os
from importlib.util import find_spec
from typing import Any

import torch

from mechunlearn.errors import PrerequisiteError, unknown

FLOATS = ("float32", "bfloat16", "float16")
QUANTISED = ("8bit", "4bit")
"""Formats of bitsandbytes, whose weights can be used but neither read nor written."""
DTYPES = ("auto", *FLOATS, *QUANTISED)


def placement(device: str = "auto", dtype: str = "auto") -> tuple[dict[str, Any], str | None]:
    """Arguments of ``from_pretrained`` for a number format, and where the model goes afterwards.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, or ``map``: the
            blocks are spread over all GPUs, which have to hold them.
        dtype: One of ``DTYPES``; ``auto`` is float32 on the CPU and bfloat16 elsewhere.

    Returns:
        The arguments, and a device; ``None`` where the arguments place the model already.

    Raises:
        ValueError: For an unknown format or device.
        PrerequisiteError: If a GPU or package is needed that is not there.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if cuda else "cpu"
    check_name(device)
    if device.startswith("cuda") and not cuda:
        raise PrerequisiteError(f"--device {device} needs a CUDA GPU, and there is none here")
    if dtype == "auto":
        dtype = "float32" if device == "cpu" or not cuda else "bfloat16"
    where: dict[str, Any] = {"device_map": "auto"} if device == "map" else {}
    if device == "map" and cuda:
        # A model that is partly on a GPU and partly not cannot be hooked.
        where["max_memory"] = {
            i: torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())
        }
    if dtype in FLOATS:
        if device.startswith("cuda"):  # Straight from the file, without a copy on the host.
            where = {"device_map": {"": device}}
        return {"dtype": getattr(torch, dtype), **where}, None if where else device
    if not cuda:
        raise PrerequisiteError(f"--dtype {dtype} needs a CUDA GPU; use float32 or bfloat16")
    if find_spec("bitsandbytes") is None:
        raise PrerequisiteError(
            f"--dtype {dtype} needs bitsandbytes: pip install 'mechunlearn[quantised]'"
        )
    where = where or {"device_map": {"": device}}
    return {"quantization_config": _bits(dtype), "dtype": torch.bfloat16, **where}, None


def _bits(dtype: str) -> Any:
    """Settings of bitsandbytes; the unembedding, which is read, stays as it is."""
    from transformers import BitsAndBytesConfig

    if dtype == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head"])
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=["lm_head"],
    )


def check_name(device: str) -> None:
    """Make sure that there are such devices, here or elsewhere.

    Raises:
        ValueError: For an unknown name.
    """
    if device in ("auto", "map"):
        return
    try:
        torch.device(device)
    except RuntimeError as err:
        raise unknown("device", device, ["auto", "cpu", "cuda", "cuda:1", "map"]) from err
