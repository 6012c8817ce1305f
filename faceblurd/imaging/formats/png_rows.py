"""Rows of the PNG types that OpenCV cannot write: palettes, fewer than 8 bits, gray with opacity.

What the redaction painted takes the colours that such a type can hold; all other pixels keep their values.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.formats.palette import nearest, rgba
from faceblurd.imaging.formats.png_chunks import Chunk

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.formats.png_chunks import Header

GRAY, PALETTE, GRAY_ALPHA = 0, 3, 4
_BYTE: Final = 8
_LEVEL: Final = 6
_SAME, _LEFT = 0, 1  # filters: the bytes as they are, or less the pixel to the left
_SHADES: Final = 0xF0  # painted colours are rounded to these bits, so that a palette has room for them


def is_special(header: Header) -> bool:
    """Say whether these rows are written here."""
    return header.colour in {PALETTE, GRAY_ALPHA} or header.depth < _BYTE


def written(pixels: npt.NDArray[Any], header: Header, chunks: list[Chunk], before: npt.NDArray[Any]) -> list[Chunk]:
    """Return palette, opacities and rows for pixels; those that differ from `before` become what the type can hold.

    `pixels` are changed in place to what was written. Interlaced files become plain ones.
    """
    if header.colour == PALETTE:
        return _palette(pixels, header, chunks, before)
    if header.colour == GRAY_ALPHA:
        pixels[:, :, 1] = pixels[:, :, 2] = pixels[:, :, 0]
        both = np.stack([pixels[:, :, 0], pixels[:, :, 3]], axis=2)
        wide = both.astype(f">u{both.itemsize}").view(np.uint8).reshape(header.height, -1)
        return [_rows(wide, step=2 * both.itemsize)]
    top = (1 << header.depth) - 1
    levels = ((pixels.astype(np.uint16) * top + 127) // 255).astype(np.uint8)
    pixels[...] = levels * (255 // top)
    kept = [chunk for chunk in chunks if chunk.kind == b"tRNS"]  # OpenCV leaves it to the reader which one it means
    return [*kept, _rows(_packed(levels, header.depth))]


def with_opacity(gray: npt.NDArray[Any], key: int, depth: int) -> npt.NDArray[Any]:
    """Return gray as BGRA in which the level `key`, of so many bits, is transparent."""
    top = np.iinfo(gray.dtype).max
    level = key if depth >= _BYTE else key * (255 // ((1 << depth) - 1))
    return np.stack([gray, gray, gray, np.where(gray == level, 0, top).astype(gray.dtype)], axis=2)


def _palette(pixels: npt.NDArray[Any], header: Header, chunks: list[Chunk], before: npt.NDArray[Any]) -> list[Chunk]:
    named = {chunk.kind: chunk.body for chunk in chunks if chunk.kind in {b"PLTE", b"tRNS"}}
    table = _table(named)
    changed = (pixels != before).any(axis=2)
    painted = rgba(pixels)[changed] & _SHADES
    if len(table) == 1 << header.depth:  # full: what no other pixel uses makes room
        table = table[np.unique(nearest(rgba(pixels)[~changed], table))]
    table = _extended(table, painted, 1 << header.depth)
    cells = np.zeros(changed.shape, np.uint8)
    for where in (changed, ~changed):
        cells[where] = nearest(rgba(pixels)[where], table)
    pixels[...] = table[cells][:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    out = [Chunk(b"PLTE", table[:, :3].tobytes())]
    if b"tRNS" in named:
        out.append(Chunk(b"tRNS", table[:, 3].tobytes()))
    return [*out, _rows(_packed(cells, header.depth))]


def _table(named: dict[bytes, bytes]) -> npt.NDArray[np.uint8]:
    """Return the palette, Nx4, RGBA."""
    colours = np.frombuffer(named.get(b"PLTE", b""), np.uint8)
    table = np.full((len(colours) // 3, 4), 255, np.uint8)
    table[:, :3] = colours[: len(table) * 3].reshape(-1, 3)
    opacities = np.frombuffer(named.get(b"tRNS", b""), np.uint8)[: len(table)]
    table[: len(opacities), 3] = opacities
    return table


def _extended(table: npt.NDArray[np.uint8], painted: npt.NDArray[np.uint8], room: int) -> npt.NDArray[np.uint8]:
    """Add the colours that were painted most, as far as there is room."""
    colours, counts = np.unique(painted, axis=0, return_counts=True)
    if len(colours):
        colours[:, 3] |= 15  # opaque stays opaque
    common = colours[np.argsort(-counts)][: max(0, room - len(table))]
    return np.concatenate([table, common])


def _packed(cells: npt.NDArray[np.uint8], depth: int) -> npt.NDArray[np.uint8]:
    """Put several pixels into a byte, the first one highest."""
    if depth == _BYTE:
        return cells
    bits = np.unpackbits(cells[:, :, None], axis=2)[:, :, _BYTE - depth :]
    return np.packbits(bits.reshape(len(cells), -1), axis=1)


def _rows(rows: npt.NDArray[np.uint8], *, step: int = 0) -> Chunk:
    """Filter (by the pixel `step` bytes to the left, if any) and compress."""
    filtered = rows
    if step:
        filtered = rows.copy()
        filtered[:, step:] -= rows[:, :-step]
    kind = np.full((len(rows), 1), _LEFT if step else _SAME, np.uint8)
    return Chunk(b"IDAT", zlib.compress(np.concatenate([kind, filtered], axis=1).tobytes(), _LEVEL))
