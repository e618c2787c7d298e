"""Half precision: whether a device is fast at it, and what to do on a CPU that is not."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

HALVES: dict[torch.dtype, Literal["bfloat16", "float16"]] = {
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_ATEN = torch.ops.aten
_PRODUCTS = (_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default)
"""What linear maps, ``@`` and ``einsum`` come down to, forward and backward."""


def fast_half(device: str, dtype: Literal["bfloat16", "float16"] = "bfloat16") -> bool:
    """Whether a device multiplies matrices in 16 bits about as fast as in float32, or faster.

    On a CPU without instructions for it, such as one with AVX2 only, PyTorch's own products take
    10 to 80 times as long.
    """
    if not device.startswith("cpu"):
        return True
    ops = torch.ops.mkldnn
    try:
        bfloat16, float16 = ops._is_mkldnn_bf16_supported, ops._is_mkldnn_fp16_supported
        return bool({"bfloat16": bfloat16, "float16": float16}[dtype]())
    except (AttributeError, RuntimeError):  # A build of PyTorch without oneDNN.
        return False


def quick_products(weight: Tensor) -> AbstractContextManager[object]:
    """Inside the block, products of matrices of ``weight``'s kind do not take many times as long.

    On a CPU without instructions for its 16 bits they are computed in float32 and rounded, which is
    what such instructions do too; elsewhere nothing changes. Not with ``torch.compile``.
    """
    half = HALVES.get(weight.dtype)
    if half is None or weight.device.type != "cpu" or fast_half("cpu", half):
        return nullcontext()
    inside = isinstance(_get_current_dispatch_mode(), _InFloat32)
    return nullcontext() if inside else _InFloat32()


class _InFloat32(TorchDispatchMode):
    """Products of half-precision matrices are computed in float32 and rounded once."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or args[0].dtype not in HALVES:
            return func(*args, **kwargs)
        wide = [x.float() if isinstance(x, Tensor) else x for x in args]
        return func(*wide, **kwargs).to(args[0].dtype)
