"""The few changes that a network's ONNX file needs before it runs, made in its bytes.

Owns the inputs and outputs that a file declares; weights and nodes pass through untouched. An ONNX file is one protocol
buffer (github.com/onnx/onnx, onnx.proto): a sequence of fields, each a key, and a number or a length with its bytes.
The package `onnx` would do the same for 25 MB more on every NAS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Parts = list[bytes | memoryview]  # of a message, in their order: joined once, at the end

_MODEL_GRAPH: Final = 7
_INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 5, 11, 12, 13  # of a GraphProto
_TENSOR_NAME: Final = 8
_NAME, _TYPE, _TENSOR_TYPE, _SHAPE, _DIMENSION = 1, 2, 1, 2, 1  # of a ValueInfoProto, and down to its shape
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED64: 8, _FIXED32: 4}


def prepared(model: bytes, *, outputs: Collection[str]) -> bytes:
    """Return the model for one picture (1, 3, any height, any width), with these outputs and its weights constant.

    Files that list their weights as inputs, too, keep a runtime from folding them: twice the time. Raises ValueError
    for what is no ONNX model with one picture as its input.
    """
    return b"".join(_rewritten(memoryview(model), _MODEL_GRAPH, lambda graph: _graph(graph, outputs)))


def _graph(graph: memoryview, outputs: Collection[str]) -> Parts:
    fields = list(_fields(graph))
    weights = {_text(body, _TENSOR_NAME) for number, _, body in fields if number == _INITIALIZER}
    inputs = [_text(body, _NAME) for number, _, body in fields if number == _INPUT]
    pictures = [name for name in inputs if name not in weights]
    known = {_text(body, _NAME) for number, _, body in fields if number == _OUTPUT}
    if len(pictures) != 1 or not known.issuperset(outputs):
        raise ValueError(f"inputs {pictures[:3]}, outputs {sorted(known)[:12]}: not the network that is expected")
    parts: Parts = []
    for number, whole, body in fields:
        if number == _OUTPUT:
            parts += _field(_OUTPUT, _shaped(body, ())) if _text(body, _NAME) in outputs else []
        elif number == _INPUT:
            picture = _text(body, _NAME) == pictures[0]
            parts += _field(_INPUT, _shaped(body, (1, 3, "height", "width"))) if picture else []
        elif number != _VALUE_INFO:
            parts.append(whole)
    return parts


def _shaped(value_info: memoryview, shape: tuple[int | str, ...]) -> Parts:
    """Give an input or output another shape, of numbers and of names for what is open; empty: one that follows."""
    sizes = [part for size in shape for part in _field(_DIMENSION, [_dimension(size)])]

    def tensor(body: memoryview) -> Parts:
        rest: Parts = [whole for number, whole, _ in _fields(body) if number != _SHAPE]
        return [*rest, *(_field(_SHAPE, sizes) if shape else [])]

    return _rewritten(value_info, _TYPE, lambda body: _rewritten(body, _TENSOR_TYPE, tensor))


def _dimension(size: int | str) -> bytes:
    if isinstance(size, int):
        return _varint(1 << 3 | _VARINT) + _varint(size)
    return b"".join(_field(2, [size.encode()]))


def _rewritten(message: memoryview, wanted: int, change: Callable[[memoryview], Parts]) -> Parts:
    """Change the sub-messages with this number."""
    parts: Parts = []
    for number, whole, body in _fields(message):
        parts += _field(number, change(body)) if number == wanted else [whole]
    return parts


def _text(message: memoryview, wanted: int) -> str:
    return next((bytes(body).decode() for number, _, body in _fields(message) if number == wanted), "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Walk a message: each field's number, all of its bytes, and its content (empty for numbers). Copies nothing."""
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        body = message[:0]
        kind = key & 7
        if kind == _VARINT:
            _, position = _read_varint(message, position)
        elif kind == _BYTES:
            length, position = _read_varint(message, position)
            body = message[position : position + length]
            position += length
        elif kind in _WIDTHS:
            position += _WIDTHS[kind]
        else:
            raise ValueError(f"no protocol buffer: a field of kind {kind}")
        if position > len(message):
            raise ValueError("the protocol buffer ends inside a field")
        yield key >> 3, message[start:position], body


def _field(number: int, body: Parts) -> Parts:
    return [_varint(number << 3 | _BYTES), _varint(sum(map(len, body))), *body]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte, the eighth says that more follow
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - as above
            return value, position
        shift += 7
    raise ValueError("the protocol buffer ends inside a number")
