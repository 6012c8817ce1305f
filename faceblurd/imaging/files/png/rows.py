"""Rows of the PNG types that OpenCV cannot write: palettes, fewer than 8 bits, gray with opacity.

What was painted takes colours that such a type can hold; all other pixels keep their values.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.files.codecs import nearest, rgba
from faceblurd.imaging.files.png.chunks import PASSES, Chunk

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.png.chunks import Header

GRAY, PALETTE, GRAY_ALPHA = 0, 3, 4
_BYTE: Final = 8
_LEVEL: Final = 6
_SAME, _LEFT, _ABOVE, _NEAREST = 0, 1, 2, 4  # filters: what is subtracted from a byte (the last one is Paeth's)
_SHADES: Final = np.uint8(0xF0)  # painted colours are rounded to these bits, so that a palette has room for them


def is_special(header: Header) -> bool:
    """Say whether these rows are written here."""
    return header.colour in {PALETTE, GRAY_ALPHA} or header.depth < _BYTE


def written(pixels: npt.NDArray[Any], header: Header, chunks: list[Chunk], before: npt.NDArray[Any]) -> list[Chunk]:
    """Return palette, opacities and rows for pixels; those that differ from `before` become what the type can hold.

    `pixels` are changed in place to what was written.
    """
    if header.colour == PALETTE:
        return _palette(pixels, header, chunks, before)
    if header.colour == GRAY_ALPHA:
        pixels[:, :, 1] = pixels[:, :, 2] = pixels[:, :, 0]
        return [rows(np.stack([pixels[:, :, 0], pixels[:, :, 3]], axis=2), header)]
    top = (1 << header.depth) - 1
    levels = ((pixels.astype(np.uint16) * top + 127) // 255).astype(np.uint8)
    pixels[...] = levels * (255 // top)
    kept = [chunk for chunk in chunks if chunk.kind == b"tRNS"]  # OpenCV leaves it to the reader which one it means
    return [*kept, rows(levels, header)]


def with_opacity(gray: npt.NDArray[Any], key: int, depth: int) -> npt.NDArray[Any]:
    """Return gray as BGRA in which the level `key`, of so many bits, is transparent."""
    top = np.iinfo(gray.dtype).max
    level = key if depth >= _BYTE else key * (255 // ((1 << depth) - 1))
    return np.stack([gray, gray, gray, np.where(gray == level, 0, top).astype(gray.dtype)], axis=2)


def _palette(pixels: npt.NDArray[Any], header: Header, chunks: list[Chunk], before: npt.NDArray[Any]) -> list[Chunk]:
    named = {chunk.kind: chunk.body for chunk in chunks if chunk.kind in {b"PLTE", b"tRNS"}}
    table = _table(named)
    changed = (pixels != before).any(axis=2)
    painted = rgba(pixels[changed]) & _SHADES
    if len(table) == 1 << header.depth:  # full: what no other pixel uses makes room
        table = table[np.unique(nearest(rgba(pixels[~changed]), table))]
    table = _extended(table, painted, 1 << header.depth)
    cells = np.zeros(changed.shape, np.uint8)
    for where in (changed, ~changed):
        cells[where] = nearest(rgba(pixels[where]), table)
    pixels[...] = table[cells][:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    out = [Chunk(b"PLTE", table[:, :3].tobytes())]
    if b"tRNS" in named:
        out.append(Chunk(b"tRNS", table[:, 3].tobytes()))
    return [*out, rows(cells, header)]


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


def rows(samples: npt.NDArray[Any], header: Header) -> Chunk:
    """Filter and compress samples, HxW or HxWxC in the file's order, interlaced where the file was."""
    steps = PASSES if header.interlaced else ((0, 0, 1, 1),)
    parts = (samples[y::down, x::across] for x, y, across, down in steps)
    lines = b"".join(_filtered(_packed(part, header.depth), _step(part)) for part in parts if part.size)
    return Chunk(b"IDAT", zlib.compress(lines, _LEVEL))


def _step(samples: npt.NDArray[Any]) -> int:
    """Return the bytes of a pixel; 0 for indices and for pixels that share a byte, which no filter helps."""
    return samples.itemsize * samples.shape[2] if samples.ndim > 2 else 0  # noqa: PLR2004 - rows, columns, channels


def _packed(samples: npt.NDArray[Any], depth: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of each row: several pixels in one, the first one highest, or two bytes a sample."""
    if depth < _BYTE:
        bits = np.unpackbits(np.ascontiguousarray(samples)[:, :, None], axis=2)[:, :, _BYTE - depth :]
        return np.packbits(bits.reshape(len(samples), -1), axis=1)
    wide = np.ascontiguousarray(samples).astype(f">u{samples.itemsize}")
    return wide.reshape(len(samples), -1).view(np.uint8)


def _filtered(lines: npt.NDArray[np.uint8], step: int) -> bytes:
    """Apply the filter that predicts bytes best, the same to all rows, and put its number before each row."""
    kind, best = _SAME, lines
    if step:
        left, above, corner = (np.zeros_like(lines) for _ in range(3))
        left[:, step:], above[1:], corner[1:, step:] = lines[:, :-step], lines[:-1], lines[:-1, :-step]
        guesses = {_LEFT: left, _ABOVE: above, _NEAREST: _paeth(left, above, corner)}
        kind, best = min(((number, lines - guess) for number, guess in guesses.items()), key=lambda one: _cost(one[1]))
    return np.concatenate([np.full((len(lines), 1), kind, np.uint8), best], axis=1).tobytes()


def _paeth(*neighbours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the neighbour that is nearest to left + above - corner, as the PNG specification has it."""
    left, above, corner = (one.astype(np.int16) for one in neighbours)
    by_left, by_above, by_corner = np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)
    others = np.where(by_above <= by_corner, above, corner)
    nearest_one: npt.NDArray[np.int16] = np.where((by_left <= by_above) & (by_left <= by_corner), left, others)
    return nearest_one.astype(np.uint8)


def _cost(differences: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(differences.view(np.int8).astype(np.int16)).sum())
