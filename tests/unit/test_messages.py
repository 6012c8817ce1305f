"""What a worker says: a round trip, and nothing but ValueError for what no worker would say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.model import Abandoned, Hashed, Reason, Refused, Region, Staged, Untouched
from faceblurd.workers.messages import MAX_BYTES, Frames, Message, Ready, SetupFailed, decode, encode, framed

ints = st.integers(-(10**9), 10**9)
texts = st.text(st.characters(), max_size=30)
regions = st.builds(Region, ints, ints, ints, ints, st.floats(allow_nan=False, allow_infinity=False), texts)
all_messages = st.one_of(
    st.just(Ready()),
    st.builds(SetupFailed, texts, texts),
    st.builds(Hashed, ints, texts),
    st.builds(Staged, ints, st.lists(regions, max_size=3).map(tuple), texts, ints, st.booleans(), texts, ints),
    st.builds(Untouched, ints, ints),
    st.builds(Abandoned, ints),
    st.builds(Refused, ints, st.sampled_from(Reason), texts, st.booleans(), ints),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
STAGED: dict[str, Any] = {
    "job": 1, "regions": [{"x": 1, "y": 2, "width": 3, "height": 4, "score": 0.5, "found_by": "haar"}],
    "output_digest": "aa", "output_size": 5, "lossless": True, "note": "", "milliseconds": 7,
}  # fmt: skip


@given(all_messages)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


def _only_value_error(raw: bytes) -> None:
    try:
        decode(raw)
    except ValueError:
        return


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode(b"\xff" + raw)
    _only_value_error(raw)


@given(json_values)
def test_any_json_gives_a_message_or_a_value_error(value: Any) -> None:
    _only_value_error(json.dumps(value).encode())


@given(
    st.sampled_from(["Ready", "SetupFailed", "Hashed", "Staged", "Untouched", "Abandoned", "Refused", "Job"]),
    st.dictionaries(st.sampled_from([*STAGED, "reason", "detail", "message", "__class__"]), json_values, max_size=8),
)
def test_a_known_message_with_odd_fields_gives_a_message_or_a_value_error(name: str, fields: dict[str, Any]) -> None:
    _only_value_error(json.dumps([name, fields]).encode())


WRONG = [
    (field, value)
    for field, good in STAGED.items()
    for value in (None, "x", 1.5, [[]], {"a": 1}, True, 7)
    if type(value) is not type(good) or value == [[]]
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError):
        decode(json.dumps(["Staged", {**STAGED, field: value}]).encode())


@pytest.mark.parametrize("field", ["x", "y", "width", "height", "score", "found_by"])
@pytest.mark.parametrize("value", [None, [], {}, True, float("nan"), float("inf")], ids=repr)
def test_a_region_with_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    region = {**STAGED["regions"][0], field: value}
    with pytest.raises(ValueError):
        decode(json.dumps(["Staged", {**STAGED, "regions": [region]}]).encode())


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'["Ready",' + b"[" * 100_000, b"1" * 10_000, b'["Ready",{}', b""])
def test_nesting_and_size_do_not_break_the_reader(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode(raw)


def test_a_pickle_is_not_loaded() -> None:
    with pytest.raises(ValueError):
        decode(b"\x80\x04\x95cposix\nsystem\n(S'true'\ntR.")


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 20)))
def test_messages_are_the_same_however_they_come_in_pieces(sent: list[bytes], sizes: list[int]) -> None:
    frames, whole, received = Frames(), b"".join(map(framed, sent)), list[bytes]()
    for size in [*sizes, len(whole)]:
        piece, whole = whole[:size], whole[size:]
        received += frames.feed(piece)
    assert received == sent
    assert not frames.has_part


def test_a_piece_of_a_message_is_none_and_can_be_told_of() -> None:
    frames = Frames()
    assert list(frames.feed(framed(b"[1]") + b"\0\0")) == [b"[1]"]
    assert frames.has_part


@pytest.mark.parametrize("size", [MAX_BYTES + 1, -1, (1 << 31) - 1])
def test_a_message_that_is_too_long_is_not_waited_for(size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(Frames().feed(size.to_bytes(4, "big", signed=True)))
