"""Which paths are candidates. Pure: names in, a verdict out; the file itself is never looked at here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from faceblurd.rules import foreign, globs

_DOCUMENTS = "txt md rtf doc docx xls xlsx ppt pptx odt ods odp pdf ps eps ai svg svgz epub htm html css"
_DATA = "csv tsv json xml yaml yml toml ini cfg conf log url db db3 sqlite sqlite3 mdb gpx kml kmz fit sfv par2 md5"
_SIDECARS = "xmp aae pp3 dop cos cop on1 lrcat lrprev srt vtt sub"
_VIDEO = "mov mp4 m4v avi mkv webm mts m2ts m2t mpg mpeg wmv 3gp 3g2 flv ogv lrv insv 360 braw r3d mxf vob"
_SOUND = "mp3 m4a wav flac ogg opus aac aif aiff amr wma mid"
_ARCHIVES = "zip gz bz2 xz zst 7z rar tar tgz iso dmg exe msi apk deb rpm dll so bin"
_PROGRAMS = "js ts py pyc c h cpp rs go java sh bat ps1 ttf otf woff woff2 torrent lnk"
OTHER_KINDS = frozenset(f"{_DOCUMENTS} {_DATA} {_SIDECARS} {_VIDEO} {_SOUND} {_ARCHIVES} {_PROGRAMS}".split())
"""Extensions of what is no photo: never opened to see."""


class Why(StrEnum):
    """Why a path is left alone (the stable word in log and status)."""

    EXCLUDED = "excluded"
    FOREIGN = "server_files"
    HIDDEN = "hidden_folder"
    NOT_INCLUDED = "not_included"
    OTHER_KIND = "other_kind"
    NO_PHOTO = "no_photo"
    UNREADABLE = "unreadable"
    NOT_REGULAR = "not_regular"


MEANINGS = {
    Why.EXCLUDED: "excluded by the config",
    Why.FOREIGN: "kept by a server or a program: previews, recycle bins, half-written uploads",
    Why.HIDDEN: "hidden folders",
    Why.NOT_INCLUDED: "not named by `include`",
    Why.OTHER_KIND: "known by their names to be no photos",
    Why.NO_PHOTO: "no photos by their first bytes",
    Why.UNREADABLE: "of unknown names, and not readable for the service",
    Why.NOT_REGULAR: "links, devices and the like, which are not followed",
}


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Nothing is done with a path, and why. `by`: the glob, or the server."""

    why: Why
    by: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo by its name; or `by_content`, if its first bytes say so."""

    by_content: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which paths of a root are candidates.

    `hidden`: folders with a dot in front are looked into. `by_content`: files that no glob names are candidates if
    their first bytes are those of a photo. `in_place`: what servers show to everybody (recycle bins, previews) is
    looked into, and resource forks beside photos are dealt with.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    hidden: bool = True
    by_content: bool = False
    in_place: bool = False

    def of_folder(self, path: str) -> LeftAlone | None:
        """Say why nothing below a folder is a candidate; None when it is looked into. Folders above do not count."""
        if (found := self._excluded(path)) is not None:
            return found
        if globs.matches(path, foreign.FOLDERS_IN_PLACE if self.in_place else foreign.FOLDERS):
            return LeftAlone(Why.FOREIGN, foreign.owner_of(path, is_folder=True))
        if not self.hidden and path.rpartition("/")[2].startswith("."):
            return LeftAlone(Why.HIDDEN)
        return None

    def of_file(self, path: str) -> Candidate | LeftAlone:
        """Judge a file by its name. Folders above do not count, but for `exclude`."""
        name = path.rpartition("/")[2]
        if (found := self._excluded(path)) is not None:
            return found
        if ignored_file(name, in_place=self.in_place):
            return LeftAlone(Why.FOREIGN, foreign.owner_of(name, is_folder=False))
        if globs.matches(path, self.include):
            return Candidate()
        if not self.by_content:
            return LeftAlone(Why.NOT_INCLUDED)
        extension = name.rpartition(".")[2].lower() if "." in name[1:] else ""
        return LeftAlone(Why.OTHER_KIND, extension) if extension in OTHER_KINDS else Candidate(by_content=True)

    def of(self, path: str) -> Candidate | LeftAlone:
        """Judge the path of a file, with all folders that it lies in."""
        return self.of_folders(path.rpartition("/")[0]) or self.of_file(path)

    def of_folders(self, path: str) -> LeftAlone | None:
        """Judge a folder with all that it lies in; the root's own path is empty."""
        parts = path.split("/") if path else []
        above = ("/".join(parts[: depth + 1]) for depth in range(len(parts)))
        return next((found for folder in above if (found := _of_folder(self, folder)) is not None), None)

    def _excluded(self, path: str) -> LeftAlone | None:
        if not self.exclude or not globs.matches(path, self.exclude):
            return None
        return LeftAlone(Why.EXCLUDED, globs.first_match(path, self.exclude) or "")


@lru_cache(maxsize=4096)
def _of_folder(selection: Selection, path: str) -> LeftAlone | None:
    return selection.of_folder(path)


def ignored_file(path: str, *, in_place: bool = False) -> bool:
    """Tell whether a file is known by its name to be nobody's finished photo."""
    name = path.rpartition("/")[2]
    names = foreign.FILES_IN_PLACE if in_place else foreign.FILES
    return globs.matches(name, names) or any(end.fullmatch(name) for _, end in foreign.RANDOM_ENDS)
