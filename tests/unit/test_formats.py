"""Number formats: values by hand, and bit for bit those of the reference implementations."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants

from mechunlearn.attacks.formats import FORMATS, FP4, NF4, q4_k, q4_k_codes

REFERENCE = {"q8_0": "Q8_0", "q5_0": "Q5_0", "q4_0": "Q4_0"}


def weights(rows: int = 8, columns: int = 512, scale: float = 0.02) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize(("name", "kind"), REFERENCE.items())
@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_ggufs_simple_formats_are_gguf_s_bit_for_bit(name: str, kind: str, scale: float) -> None:
    weight, of = weights(scale=scale), GGMLQuantizationType[kind]
    weight[0, :32] = 0.0
    stored = quants.quantize(weight.numpy(), of)
    assert torch.equal(FORMATS[name](weight), torch.from_numpy(quants.dequantize(stored, of)))


def packed(
    codes: np.ndarray, scales: np.ndarray, lows: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """A super-block's numbers in q4_k's 144 bytes."""
    d, m = scales.astype(np.uint8), lows.astype(np.uint8)
    first = d[:, :4] | ((d[:, 4:] >> 4) << 6)
    second = m[:, :4] | ((m[:, 4:] >> 4) << 6)
    third = (d[:, 4:] & 15) | ((m[:, 4:] & 15) << 4)
    pairs = codes.astype(np.uint8).reshape(len(codes), 4, 2, 32)
    nibbles = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(len(codes), -1)
    halves = steps.astype(np.float16).view(np.uint8).reshape(len(codes), 4)
    return np.concatenate([halves, first, second, third, nibbles], axis=1)


def test_q4_k_is_read_as_gguf_reads_it() -> None:
    weight = weights()
    parts = [part.numpy() for part in q4_k_codes(weight)]
    assert parts[0].max() == 15
    assert parts[1].max() == parts[2].max() == 63
    read = quants.dequantize(packed(*parts), GGMLQuantizationType.Q4_K)
    assert torch.equal(q4_k(weight), torch.from_numpy(read).view_as(weight))


def test_q4_k_s_fit_beats_plain_rounding_and_short_rows_take_q5_0() -> None:
    weight = weights() + 0.01

    def error(name: str) -> float:
        return float((FORMATS[name](weight) - weight).norm())

    assert error("q4_k") < 0.95 * error("q4_0")
    short = weights(columns=128)
    assert torch.equal(q4_k(short), FORMATS["q5_0"](short))


@pytest.mark.parametrize(("name", "book"), [("nf4", NF4), ("fp4", FP4)])
def test_blocks_of_64_hold_code_book_values(name: str, book: tuple[float, ...]) -> None:
    weight = weights(3, 100)  # Blocks go on over rows; the last one is short.
    stored = FORMATS[name](weight)
    code = torch.tensor(book)
    for start in range(0, 300, 64):
        block = weight.flatten()[start : start + 64]
        largest = block.abs().max()
        nearest = code[((block / largest)[:, None] - code).abs().argmin(-1)] * largest
        assert torch.equal(stored.flatten()[start : start + 64], nearest)
    assert torch.equal(FORMATS[name](torch.zeros(2, 64)), torch.zeros(2, 64))


def test_bitsandbytes_gives_the_same_numbers() -> None:
    functional = pytest.importorskip(
        "bitsandbytes", reason="bitsandbytes is not installed"
    ).functional
    weight = weights()
    weight[1] = 0.0  # Stored with a scale of 0, whatever the codes are.
    for name in ("nf4", "fp4"):
        stored, state = functional.quantize_4bit(weight, blocksize=64, quant_type=name)
        assert torch.equal(FORMATS[name](weight), functional.dequantize_4bit(stored, state))
    half = weight.half()
    codes, largest, *_ = functional.int8_vectorwise_quant(half)
    expected = functional.int8_vectorwise_dequant(codes, largest)
    assert torch.equal(FORMATS["int8"](half.float()), expected)


def test_steps_of_rows_and_groups_and_pruned_weights() -> None:
    rows = torch.tensor([[1.27, 0.014, -0.006], [0.0, 0.0, 0.0]])
    assert torch.allclose(FORMATS["int8"](rows), torch.tensor([[1.27, 0.01, -0.01], [0.0] * 3]))
    group = torch.tensor([[-0.5, 0.0, 1.0, 0.26]])  # Steps of 0.1, zero among them.
    assert torch.allclose(FORMATS["int4_groups"](group), torch.tensor([[-0.5, 0.0, 1.0, 0.3]]))
    weight = torch.tensor([[4.0, -1.0, 0.5, 3.0, -7.0, 7.0]])
    assert FORMATS["2:4"](weight).tolist() == [[4.0, 0.0, 0.0, 3.0, -7.0, 7.0]]
    assert FORMATS["magnitude_50"](weight).tolist() == [[4.0, 0.0, 0.0, 0.0, -7.0, 7.0]]


@pytest.mark.parametrize("name", FORMATS)
def test_types_and_shapes_stay_and_storing_twice_is_storing_once(name: str) -> None:
    weight = weights(8, 256).to(torch.bfloat16)
    stored = FORMATS[name](weight)
    assert (stored.dtype, stored.shape) == (weight.dtype, weight.shape)
    assert 0 < float((stored.float() - weight.float()).norm() / weight.float().norm()) < 0.6
    once = FORMATS[name](weights(8, 256))
    again = FORMATS[name](once)
    assert (again - once).norm() < 0.05 * once.norm()


def test_gguf_is_the_version_this_was_compared_with() -> None:
    assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType.Q4_K] == (256, 144)
