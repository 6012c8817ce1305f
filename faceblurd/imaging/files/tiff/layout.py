"""The structure of a TIFF file: its pages, which bytes are in use, and the wiping of all others."""

from __future__ import annotations

import struct
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from faceblurd.errors import ImageError
from faceblurd.imaging.files.codecs import zero_tail
from faceblurd.imaging.files.tiff.page import TiffPage
from faceblurd.imaging.metadata import BARE, Scrub, contains_picture, hides_picture
from faceblurd.imaging.metadata.embedded import wipe_pictures
from faceblurd.imaging.metadata.exif import SUB_IFDS, TiffBlock, each_byte_once
from faceblurd.imaging.metadata.exif_scrub import (
    keep_known,
    scrub_payloads,
    strip_location,
    wipe_children,
)
from faceblurd.model import Reason

if TYPE_CHECKING:
    from faceblurd.imaging.files.tiff.page import Span

_SPARSE: Final = 8  # where the last eighth of a file is zeros, it is a copy that is still arriving
_MAX_PAGES: Final = 1000
_MAX_CHILDREN: Final = 64  # of a page: cameras write three
_MAX_ROWS: Final = 1_000_000  # strips and tiles of all pages
_MAX_COPIED: Final = 32 << 30  # bytes: a decoder gets the whole file for each page


class TiffLayout:
    """Reads the directories of a file. Raises ImageError.

    `chain`: all pages; `pages`: those to work on. Scrubbing takes the others out.
    """

    def __init__(self, data: bytes, *, check_tail: bool = True) -> None:
        """Read the pages, and check that all rows are there; with `check_tail` also that the end is not all zeros."""
        self.data = data
        self._directories: list[Span] = []  # that were read, in order
        self._rows = 0
        try:
            self._tiff = TiffBlock(data)
            self.chain = self._chain()
        except ValueError as error:
            what = f"The TIFF's directory is not whole: {error}"
            raise ImageError(Reason.INCOMPLETE, what, retryable=True) from error
        self.pages = self.chain
        self.is_sparse = check_tail and zero_tail(data) > max(4096, len(data) // _SPARSE)
        if self.is_sparse and any(page.compression != 1 for page in self.pages):  # plain rows may be black
            raise ImageError(Reason.INCOMPLETE, "The end of the TIFF is only zeros", retryable=True)
        for page in self.pages:
            self._refuse(page)

    def _chain(self) -> list[TiffPage]:
        """Follow the directories. A loop, or an endless chain, is damage."""
        pages = [TiffPage(self._tiff, self._tiff.first())]
        self._check_cost(pages[0])
        seen = {pages[0].ifd.start}
        while start := pages[-1].ifd.next:
            if start in seen or len(pages) >= _MAX_PAGES:
                raise ImageError(Reason.DAMAGED, "The pages of the TIFF do not end")
            seen.add(start)
            if len(seen) * len(self.data) > _MAX_COPIED:
                raise self._too_large()
            pages.append(TiffPage(self._tiff, self._tiff.ifd(start)))
            self._check_cost(pages[-1])
        return pages

    def _check_cost(self, page: TiffPage) -> None:
        """Refuse directories that are small in the file but take much memory or time, before the next one is read."""
        start, end = page.directory
        at = bisect_left(self._directories, (start, end))
        if any(first < end and start < last for first, last in self._directories[max(at - 1, 0) : at + 1]):
            raise ImageError(Reason.DAMAGED, "The directories of the TIFF overlap")
        self._directories.insert(at, (start, end))
        self._rows += len(page.rows)
        if self._rows > _MAX_ROWS:
            raise self._too_large()

    def _too_large(self) -> ImageError:
        what = f"The TIFF has more than {len(self._directories)} pages in {len(self.data)} bytes"
        return ImageError(Reason.TOO_LARGE, what)

    def _refuse(self, page: TiffPage) -> None:
        """Refuse what is cut, what is raw, and what holds pictures that are no reduced copies."""
        if max(end for _, end in page.rows) > len(self.data) or min(end - start for start, end in page.rows) < 1:
            raise ImageError(Reason.INCOMPLETE, "The TIFF's rows are not all there", retryable=True)
        if page.is_raw:
            raise ImageError(Reason.UNSUPPORTED, "Raw photos (DNG) are not supported")
        if page.has_more_children_than(_MAX_CHILDREN):
            raise ImageError(Reason.UNSUPPORTED, "TIFFs with so many sub-directories are not supported")
        if SUB_IFDS in page.tags and (page.is_reduced or not all(map(self._is_copy, page.children()))):
            raise ImageError(Reason.UNSUPPORTED, "TIFFs with whole pictures in sub-directories are not supported")

    def _is_copy(self, child: TiffPage | None) -> bool:
        """Say whether a sub-directory is a reduced copy; raises ImageError for one that another page has, too."""
        if child is None or not child.is_reduced:
            return False
        self._check_cost(child)
        return True

    def leave_out(self, unusable: list[TiffPage]) -> None:
        """Work without these reduced copies. Raises ImageError where the other pages share rows."""
        self.pages = [page for page in self.chain if page not in unusable]
        rows = sorted(span for page in self.pages for span in page.rows)
        if len(self.pages) > 1 and any(end > start for (_, end), (start, _) in pairwise(rows)):
            raise ImageError(Reason.UNSUPPORTED, "TIFFs whose pages share their rows are not supported")

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Return the file without pictures in its tags; bytes that no tag refers to are blanked or cut off."""
        tiff = TiffBlock(self.data)
        _link(tiff, self.pages)
        try:
            for page in self.pages:
                _scrub(tiff, page.ifd.start, scrub)
        except ValueError as error:  # values that lie over directories
            raise ImageError(Reason.DAMAGED, f"The TIFF's directories make no sense: {error}") from error
        pages = [TiffPage(tiff, tiff.ifd(page.ifd.start)) for page in self.pages]
        for start, end in each_byte_once(span for page in pages for span in page.values()):
            wipe_pictures(tiff.content, start, end)
        for start, end in _gaps(_used(pages), len(self.data)):
            tiff.blank(start, end - start)
        last = max(end for _, end in _used(pages))
        return bytes(tiff.content[:last])  # a file that ends in zeros looks like one that has not arrived

    def leftovers(self) -> list[str]:
        """Name tags whose value looks like a picture, bytes that nothing refers to, and pages that are left out."""
        values = each_byte_once(span for page in self.chain for span in page.values())
        found = [f"tag at {start}" for start, end in values if contains_picture(self.data[start:end])]
        unused = b"".join(self.data[start:end] for start, end in _gaps(_used(self.chain), len(self.data)))
        if any(hides_picture(self.data[start:end]) for page in self.chain for start, end in page.rows):
            found.append("rows")
        apart = len(self.chain) > len(self.pages) or any(SUB_IFDS in page.tags for page in self.pages)
        return [*found, *(["unused bytes"] if contains_picture(unused) else []), *(["reduced copies"] if apart else [])]


def _link(tiff: TiffBlock, pages: list[TiffPage]) -> None:
    """Let the header and each directory name the next of these pages."""
    links = [4, *(page.ifd.link for page in pages)]
    for link, start in zip(links, [*(page.ifd.start for page in pages), 0], strict=True):
        if link + 4 <= len(tiff.content):
            struct.pack_into(tiff.order + "I", tiff.content, link, start)


def _scrub(tiff: TiffBlock, start: int, scrub: Scrub) -> None:
    """Scrub one directory in place. Each step reads it anew: where a tag goes, the next ones move up."""
    scrub_payloads(tiff, tiff.ifd(start), scrub)
    wipe_children(tiff, tiff.ifd(start))
    keep_known(tiff, start, scrub)
    if not scrub.location:
        strip_location(tiff, start)


def _used(pages: list[TiffPage]) -> list[Span]:
    parts = (span for page in pages for span in (*page.rows, *page.structure(), *page.values()))
    return [(0, 8), *parts]


def _gaps(spans: list[Span], length: int) -> list[Span]:
    """Return what lies between the spans."""
    gaps: list[Span] = []
    position = 0
    for start, end in sorted(spans):
        if start > position:
            gaps.append((position, min(start, length)))
        position = max(position, end)
    return [*gaps, (position, length)] if position < length else gaps
