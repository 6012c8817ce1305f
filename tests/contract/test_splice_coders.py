"""The bit loop exists in C and in Python: both keep the same contract, on good bits and on bad ones."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceblurd.imaging.files.jpeg import laying_native, native
from faceblurd.imaging.files.jpeg.fallback import FallbackCoder
from faceblurd.imaging.files.jpeg.huffman import MissingCodesError, SpliceError, Table
from faceblurd.imaging.files.jpeg.layout import Stream
from faceblurd.imaging.files.jpeg.native import NativeCoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.imaging.files.jpeg.coding import Coder

CODERS = (FallbackCoder, NativeCoder)
HERE = Path(__file__).resolve().parent


def flat_table(symbols: list[int], *, is_dc: bool, length: int = 8) -> Table:
    """Give every symbol a code of the same length."""
    counts = bytearray(16)
    counts[length - 1] = len(symbols)
    return Table(bytes(counts), bytes(symbols), is_dc)


ALL_AC = [0, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
STREAM = Stream((0, 0, 1), (flat_table(list(range(12)), is_dc=True),) * 2, (flat_table(ALL_AC, is_dc=False),) * 2)


@pytest.fixture(params=CODERS)
def coder(request: pytest.FixtureRequest) -> Callable[[Stream], Coder]:
    if request.param is NativeCoder and (reason := native.available()):
        pytest.skip(reason)
    return request.param


def empty_walk(coder: Coder, count: int) -> Any:
    """Walk an interval of blank MCUs, all of them wanted: a frame to write others into."""
    bits = FallbackCoder(STREAM).write(b"", native.Walk(np.array([[0, 0, count, 0, 0, 0, 0]]), 0), blank(count))
    found = blank(count)
    return bits, coder.walk(bits, np.ones(count, np.uint8), found), found


def blank(count: int) -> Any:
    return np.zeros((count, 3, 64), np.int16)


@st.composite
def coefficients(draw: st.DrawFn) -> Any:
    seed, count, density = (
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(1, 6)),
        draw(st.sampled_from([0.02, 0.3, 1])),
    )
    rng = np.random.default_rng(seed)
    values = rng.integers(-1023, 1024, (count, 3, 64)) >> rng.integers(0, 10, (count, 3, 64))
    return (values * (rng.random((count, 3, 64)) < density)).astype(np.int16)


def test_what_is_written_is_read_again(coder: Callable[[Stream], Coder]) -> None:
    @settings(max_examples=100, deadline=None)
    @given(coefficients(), st.data())
    def check(values: Any, data: st.DataObject) -> None:
        one = coder(STREAM)
        bits, walk, _ = empty_walk(one, len(values))
        written = one.write(bits, walk, values)
        wanted = np.array([data.draw(st.booleans()) for _ in values], np.uint8)
        found = np.zeros((int(wanted.sum()), 3, 64), np.int16)
        again = one.walk(written, wanted, found)
        np.testing.assert_array_equal(found, values[wanted.astype(bool)])
        assert again.end <= 8 * len(written) < again.end + 8
        assert one.write(written, again, found) == written

    check()


def test_recoding_keeps_what_the_bits_say(coder: Callable[[Stream], Coder]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(coefficients())
    def check(values: Any) -> None:
        one = coder(STREAM)
        shuffled = random.Random(1).sample(ALL_AC, len(ALL_AC))
        other = Stream(STREAM.component, STREAM.dc, (flat_table(shuffled, is_dc=False, length=9),) * 2)
        bits, walk, _ = empty_walk(one, len(values))
        written = one.write(bits, walk, values)
        nothing = one.walk(written, np.zeros(len(values), np.uint8), blank(0))
        recoded = coder(other).write(written, nothing, blank(0), source=one)
        found = blank(len(values))
        coder(other).walk(recoded, np.ones(len(values), np.uint8), found)
        np.testing.assert_array_equal(found, values)

    check()


def test_a_symbol_without_a_code_is_named(coder: Callable[[Stream], Coder]) -> None:
    poor = Stream(STREAM.component, STREAM.dc, (flat_table([0, 1], is_dc=False), STREAM.ac[1]))
    values = blank(1)
    values[0, 1, 20] = 5  # after 19 zeros: a run of 16, then 3 zeros and 3 bits
    bits, walk, _ = empty_walk(coder(STREAM), 1)
    with pytest.raises(MissingCodesError) as raised:
        coder(poor).write(bits, walk, values)
    assert raised.value.ac == ({0xF0, 0x33}, frozenset())
    assert raised.value.dc == (frozenset(), frozenset())


@pytest.mark.parametrize("raw", [b"ab\xff", b"\xff\xd0", b"a\xff\xff\0b"])
def test_a_marker_or_a_fill_byte_inside_is_refused(coder: Callable[[Stream], Coder], raw: bytes) -> None:
    with pytest.raises(SpliceError, match="marker"):
        coder(STREAM).unstuffed(raw)


def test_stuffing_goes_and_all_else_stays(coder: Callable[[Stream], Coder]) -> None:
    assert coder(STREAM).unstuffed(b"\xff\0a\0\xff\0\xff\0") == b"\xffa\0\xff\xff"


def test_both_say_the_same_of_bad_bits() -> None:
    if reason := native.available():
        pytest.skip(reason)
    dc = Table(bytes([0, 2, 3, *[0] * 13]), bytes([0, 1, 2, 3, 4]), is_dc=True)
    often = [
        1,
        0,
        2,
        0x11,
        0xF0,
        0x21,
        3,
        0x12,
        0x31,
        0x41,
        *range(4, 10),
        0x51,
        0x61,
        0x71,
        0x22,
        0x32,
        0x13,
        0x14,
        0x62,
    ]
    ac = Table(bytes([0, 1, 2, 3, 4, 8, 7, 1, *[0] * 8]), bytes([*often, 0x0F, 0x10]), is_dc=False)
    stream = Stream((0, 0, 1), (dc, dc), (ac, ac))
    complaints = set()

    @settings(max_examples=400, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.lists(st.booleans(), min_size=1, max_size=6))
    def check(seed: int, size: int, flags: list[bool]) -> None:
        bits = random.Random(seed).randbytes(size)
        wanted = np.array(flags, np.uint8)
        said = []
        for kind in CODERS:
            found = np.zeros((sum(flags), 3, 64), np.int16)
            try:
                walk = kind(stream).walk(bits, wanted, found)
            except SpliceError as error:
                said.append(str(error))
            else:
                said.append((walk.runs.tolist(), walk.end, found.tobytes(), kind(stream).write(bits, walk, found)))
        assert said[0] == said[1]
        complaints.add(said[0] if isinstance(said[0], str) else "fine")

    check()
    assert "fine" in complaints
    assert len(complaints) > 3


def spliced_bits(coder: Coder) -> tuple[bytes, Any, bytes, Any]:
    """Return an interval of six MCUs, its walk with two runs, what was made of it, and what is new there."""
    bits, _, values = empty_walk(coder, 6)
    values[:] = np.random.default_rng(3).integers(-9, 10, values.shape)
    bits = coder.write(bits, native.Walk(np.array([[0, 8 * len(bits), 6, 0, 0, 0, 0]]), 8 * len(bits)), values)
    wanted = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    old = blank(3)
    walk = coder.walk(bits, wanted, old)
    new = old + 1
    # As a splice has it, the MCU after a run comes with it: its DC values are differences to the run's last.
    new[1, :, 0], new[2, :, 0] = old[1, :, 0], old[2, :, 0]
    return bits, walk, coder.write(bits, walk, new), new


def test_what_was_spliced_is_reread_and_all_else_must_be_the_same_bits(coder: Callable[[Stream], Coder]) -> None:
    one = coder(STREAM)
    bits, walk, written, new = spliced_bits(one)
    again = blank(3)
    one.reread(bits, walk, written, again)
    assert np.array_equal(again, new)
    number = int.from_bytes(written, "big") ^ 1 << (8 * len(written) - 1 - (int(walk.runs[0, 0]) - 1))
    for spoilt, why in (
        (number.to_bytes(len(written), "big"), "bits beside the regions changed"),  # the last bit before the first run
        (written + b"\xff", "bits behind its last block"),
        (written[:-3], "ends too early|changed"),
        (b"", "ends too early"),
    ):
        with pytest.raises(SpliceError, match=why):
            one.reread(bits, walk, spoilt, blank(3))


def test_zeros_are_put_in_and_taken_out(coder: Callable[[Stream], Coder]) -> None:
    one = coder(STREAM)
    for bits in (b"", b"\xff", b"a\xff\xffb", bytes(range(256)) * 3):
        assert one.stuffed(bits) == bits.replace(b"\xff", b"\xff\0")
        assert one.unstuffed(one.stuffed(bits)) == bits


@pytest.mark.skipif(native.available() is not None, reason="nothing is compiled")
def test_python_and_c_agree_about_what_lies_where() -> None:
    compiled = native.load()
    assert compiled.fb_component_size() == ctypes.sizeof(laying_native._Component)
    assert compiled.fb_covers_size() == ctypes.sizeof(laying_native._Covers)
    assert compiled.fb_pair_size() == laying_native._PAIR_BYTES


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc with its sanitizers")
@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_the_c_code_touches_no_memory_but_its_own_whatever_the_bytes_say(tmp_path: Path, count: int) -> None:
    sources = sorted(Path(native.__file__).parent.glob("*.c"))
    compiled = tmp_path / "sanitized.so"
    flags = ["-O1", "-g", "-fPIC", "-shared", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if subprocess.run(["gcc", *flags, "-o", compiled, *sources], check=False, capture_output=True).returncode:
        pytest.skip("this gcc has no sanitizers")
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environ = {
        "LD_PRELOAD": runtime.stdout.strip(), "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }  # fmt: skip
    command = [sys.executable, HERE / "fuzz_splice.py", compiled, str(count), "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{count} inputs" in done.stdout
