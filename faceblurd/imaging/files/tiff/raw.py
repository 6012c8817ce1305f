"""Tell cameras' raw files from TIFFs: DNG, NEF, ARW, PEF, SRW and others are TIFFs by their structure.

Such a file opens with a small preview. To blur only that would leave the photo as it is, or lose it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceblurd.imaging.metadata.exif import SUB_IFDS, TiffBlock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.imaging.metadata.exif import Ifd

_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _DNG_VERSION, _LEAF = 0xFE, 0x103, 0x106, 0xC612, 0x8603
_REDUCED = 1  # of _SUBFILE: a smaller copy of another picture of the file
_SENSOR = frozenset({32803, 34892})  # of _PHOTOMETRIC: a colour filter array, linear raw
_CAMERA = frozenset({32767, 32769, 32770, 32772, 34713, 65000, 65535})  # compressions of Sony, Samsung, Nikon...
_MAX_IFDS = 32


def is_raw(data: bytes) -> bool:
    """Say whether a TIFF is a camera's raw file. One that does not parse is none."""
    try:
        tiff = TiffBlock(data)
        first = tiff.first()
        opens_with_a_preview = any(value & _REDUCED for value in _values(tiff, first, _SUBFILE))
        named = _DNG_VERSION in first.entries or _LEAF in first.entries
        return opens_with_a_preview or named or any(_is_of_a_sensor(tiff, ifd) for ifd in _directories(tiff, first))
    except ValueError:
        return False


def _directories(tiff: TiffBlock, first: Ifd) -> Iterator[Ifd]:
    """Give the first directory, those that follow, and their children."""
    waiting, seen = [first], {first.start}
    while waiting and len(seen) < _MAX_IFDS:
        ifd = waiting.pop(0)
        yield ifd
        further = {ifd.next, *_values(tiff, ifd, SUB_IFDS)} - seen - {0}
        seen |= further
        waiting += [tiff.ifd(start) for start in sorted(further)]


def _is_of_a_sensor(tiff: TiffBlock, ifd: Ifd) -> bool:
    photometric, compression = (set(_values(tiff, ifd, tag)) for tag in (_PHOTOMETRIC, _COMPRESSION))
    return bool(photometric & _SENSOR or compression & _CAMERA)


def _values(tiff: TiffBlock, ifd: Ifd, tag: int) -> list[int]:
    return tiff.integers_or_none(ifd.entries.get(tag))[:_MAX_IFDS]
