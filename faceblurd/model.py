"""The vocabulary: frozen values that cross thread, process and room boundaries.

One module over the usual length, so that a newcomer reads every word that the rooms share in one place.
Owns no behaviour beyond what a value can say of itself; does no I/O, reads no clock, imports no third-party package.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

RECIPE_EPOCH = 7
"""Raised whenever the same settings would give other pixels, so that every file is looked at again."""


ALWAYS = "always"
"""What a region carries as `found_by` that the config names: it is hidden whole, as the box that it is."""


class Mode(StrEnum):
    """Where a result goes."""

    MIRROR = "mirror"
    IN_PLACE = "in_place"


class Watch(StrEnum):
    """How new photos are noticed."""

    AUTO = "auto"
    INOTIFY = "inotify"
    SCAN = "scan"


class State(StrEnum):
    """Where a file stands on its way (`rules.decide.TRANSITIONS` lists the legal moves)."""

    SEEN = "seen"
    SETTLING = "settling"
    QUEUED = "queued"
    WORKING = "working"
    STAGED = "staged"
    PUBLISHED = "published"
    CLEAN = "clean"
    RETRY = "retry"
    QUARANTINED = "quarantined"
    RELEASED = "released"  # a person decided that the file may stay as it is
    IGNORED = "ignored"
    VANISHED = "vanished"


class Source(StrEnum):
    """What made us look at a path."""

    EVENT = "event"
    SCAN = "scan"


class Reason(StrEnum):
    """Why a file was not published (the stable word in logs, status and hooks)."""

    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"
    INCOMPLETE = "incomplete"
    TOO_LARGE = "too_large"
    HARD_LINK = "hard_link"
    NOT_REGULAR = "not_regular"
    BEING_WRITTEN = "being_written"
    CHANGED_MEANWHILE = "changed_meanwhile"
    TARGET_EXISTS = "target_exists"
    WORKER_CRASHED = "worker_crashed"
    DEADLINE = "deadline"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_VERIFIED = "not_verified"
    PLUGIN_FAILED = "plugin_failed"
    NO_PERMISSION = "no_permission"
    NO_SPACE = "no_space"
    UNREACHABLE = "unreachable"
    IO_ERROR = "io_error"
    INTERRUPTED = "interrupted"
    VANISHED = "vanished"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What lstat says of a file's identity and content: the fast path only, since inode numbers are re-used."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def from_stat(cls, st: os.stat_result) -> Fingerprint:
        """Build one from a stat result."""
        return cls(st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A hint that a path is worth a look. `path` is relative to the root, POSIX, surrogate-escaped."""

    root: str
    path: str
    source: Source


@dataclass(frozen=True, slots=True)
class Region:
    """A box in pixels: `x`, `y` of the top left corner, `width`, `height`; `score` as its finder gives it."""

    x: int
    y: int
    width: int
    height: int
    score: float
    found_by: str
    frame: int = 0  # the page or the animation's frame that it lies in
    flat: bool = False  # hidden by one colour only: what the check asks for where it still sees a face

    def as_dict(self) -> dict[str, object]:
        """Give the documented JSON object; `frame` only where a file has more than one."""
        described = asdict(self)
        del described["flat"]
        if not self.frame:
            del described["frame"]
        return described


class DetectorKind(StrEnum):
    """The detectors that come with faceblurd (plugins bring their own)."""

    HAAR = "haar"
    NETWORKS = "networks"


class Sensitivity(StrEnum):
    """How readily a weak find counts as a face: `high` hides more faces, and more that is none."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class HaarSpec:
    """Parameters of `cv2.CascadeClassifier.detectMultiScale`; sizes in pixels of the searched picture, 0 = no bound."""

    cascade: str = "haarcascade_frontalface_default.xml"
    scale_factor: float = 1.1
    min_neighbors: int = 4
    min_size_px: int = 0
    max_size_px: int = 0
    mirrored: bool = False  # search the mirror image as well: the profile cascade knows one side only
    kind: DetectorKind = DetectorKind.HAAR


@dataclass(frozen=True, slots=True)
class NetworksSpec:
    """How YuNet and CenterFace share the search of a whole photo; sizes in pixels of the photo, 0 = no bound.

    `first_look_scale`: the share of its size at which YuNet sees a large photo; `first_look_megapixels`: as large it
    sees others, up to twice their size. It names places from the score `named` on, where CenterFace looks at twice that
    scale, or at the photo's own; `enlarged`: at the smallest, at twice that again.
    """

    first_look_scale: float = 0.45
    first_look_megapixels: float = 0.5
    named: float = 0.12
    enlarged: bool = True
    min_size_px: int = 0
    max_size_px: int = 0
    kind: DetectorKind = DetectorKind.NETWORKS


@dataclass(frozen=True, slots=True)
class Zone:
    """A rectangle in fractions of the upright picture, from 0 to 1: its corner, its width and its height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Zones:
    """For fixed cameras: what is hidden in every photo, and where finds do not count."""

    always: tuple[Zone, ...] = ()
    never: tuple[Zone, ...] = ()


DetectorSpec = HaarSpec | NetworksSpec


@dataclass(frozen=True, slots=True)
class DetectionSpec:
    """How faces are looked for.

    `working_size_px`: longest side of the decode that cascades and plugins search, None = full size; the networks
    always see the whole photo. `turned`: what lies or stands on its head is looked for as well. `merge`: boxes
    that cover much the same become one.
    """

    detectors: tuple[DetectorSpec, ...]
    working_size_px: int | None = 1920
    sensitivity: Sensitivity = Sensitivity.NORMAL
    turned: bool = True
    merge: bool = True


class BlurMethod(StrEnum):
    """How a region is hidden."""

    SOFT = "soft"
    AVERAGE_POOL = "average_pool"
    MOSAIC = "mosaic"
    SOLID = "solid"


class Engine(StrEnum):
    """What computes the average pool; both give the same bits (tests/unit/test_redaction.py)."""

    OPENCV = "opencv"
    TENSORFLOW = "tensorflow"


class Shape(StrEnum):
    """The outline of what is hidden."""

    BOX = "box"
    ELLIPSE = "ellipse"


@dataclass(frozen=True, slots=True)
class BlurSpec:
    """How a region is hidden.

    `soft` is an ellipse in the face's own colour, and knows `levels` and `margin` only. For the others, the window is
    `pool_size_px`, or `pool_face_fraction` times the region's longer side where that is more (0: never).
    `margin` is added on each side, as a fraction of the box's width and height. `allow_weak` decides no pixels: it
    is the config's leave to hide less than docs/anonymity.md asks for.
    """

    method: BlurMethod = BlurMethod.AVERAGE_POOL
    engine: Engine = Engine.OPENCV
    pool_size_px: int = 20
    pool_face_fraction: float = 0.5
    stride_px: int | None = None  # None: the window, so that no two means share a pixel
    levels: int | None = 8  # of each channel; None: as many as the file has
    margin: float = 0.15
    shape: Shape = Shape.BOX
    allow_weak: bool = False


class MetadataPolicy(StrEnum):
    """What stays of the metadata besides embedded pictures, which never stay as they are."""

    KEEP = "keep"
    STRIP_LOCATION = "strip_location"
    STRIP_ALL = "strip_all"


class Verify(StrEnum):
    """How closely a result is looked at before it is published."""

    FULL = "full"
    SAMPLED = "sampled"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class MetadataSpec:
    """What stays of the metadata. `keep_names`: people's names and the areas of their faces stay."""

    policy: MetadataPolicy = MetadataPolicy.KEEP
    keep_names: bool = False


KEEP_METADATA = MetadataSpec()


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result, and how it is checked. `name` is for people; only `digest` is compared."""

    name: str
    detection: DetectionSpec
    blur: BlurSpec
    max_pixels: int = 200_000_000
    plugins: tuple[str, ...] = ()
    zones: Zones = Zones()
    metadata: MetadataSpec = KEEP_METADATA
    verify: Verify = Verify.FULL
    materials: tuple[str, ...] = ()  # digests of files that the recipe names: a user's cascade, a user's model
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Compute the digest over what decides the pixels (the engine gives the same bits, yet is counted)."""
        content = asdict(self)
        del content["name"], content["digest"], content["verify"], content["blur"]["allow_weak"]
        text = json.dumps([RECIPE_EPOCH, content], sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "digest", hashlib.blake2b(text.encode(), digest_size=8).hexdigest())


@dataclass(frozen=True, slots=True)
class Job:
    """One file for one worker. The files themselves travel as open descriptors beside it."""

    id: int
    name: str  # for messages only; the worker opens nothing by name
    recipe: Recipe
    mode: Mode
    fingerprint: Fingerprint  # what the parent saw; the worker refuses a file that differs
    output_mtime_ns: int | None  # None: now
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Hashed:
    """Worker to parent, before any decoding: the digest of the bytes that it read."""

    job: int
    digest: str


@dataclass(frozen=True, slots=True)
class Staged:
    """The staging file holds a whole, verified result (`regions` empty: no face, a scrubbed copy)."""

    job: int
    regions: tuple[Region, ...]
    output_digest: str
    output_size: int
    lossless: bool
    note: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Untouched:
    """In place and nothing to hide: the file stays as it is."""

    job: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The parent said that the digest is known; nothing was decoded."""

    job: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No result, and why. `retryable`: another try may succeed."""

    job: int
    reason: Reason
    detail: str
    retryable: bool
    milliseconds: int


JobResult = Staged | Untouched | Abandoned | Refused


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of one path: `source` as it was when the state was reached, `target` as published."""

    root: str
    path: str
    state: State
    recipe: str
    source: Fingerprint
    input_digest: str | None = None
    output_digest: str | None = None
    target: Fingerprint | None = None
    attempts: int = 0
    reason: Reason | None = None
    detail: str = ""
    updated_ns: int = 0  # wall clock, for people only
    to: str = ""  # the folder that results went to, the root itself in place; empty: an older version's mirror
    terms: str = ""  # of a held file: the settings that it was judged by

    def fits(self, to: str) -> bool:
        """Tell whether it is about the mode and the destination that `to` stands for."""
        return self.to == to or (not self.to and to != self.root)


@dataclass(frozen=True, slots=True)
class Intent:
    """A job that was started: what a restart needs to finish or undo it. Paths are absolute."""

    token: str
    root: str
    path: str
    target: str
    staging: str | None  # None: the staging file has no name, a crash takes it along
    source: Fingerprint
    recipe: str
    attempts: int
    input_digest: str | None = None
    output_digest: str | None = None
    payload: str = ""  # the hook's object, so that a crash right after the rename loses no call


class Outcome(StrEnum):
    """What became of a file, in the words of the log, `--json` and the hooks."""

    PUBLISHED = "published"
    CLEAN = "clean"
    HELD = "held"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Report:
    """The one account of a file that log line, `--json` and hooks share. `regions` in pixels as stored."""

    root: str
    path: str  # absolute, of the source
    outcome: Outcome
    output: str | None  # absolute path of what may be shown; None when nothing was published
    reason: Reason | None
    detail: str
    regions: tuple[Region, ...]
    recipe: str
    lossless: bool | None
    milliseconds: int

    def as_dict(self) -> dict[str, object]:
        """Give the documented JSON object (docs/cli.md); undecodable bytes of a name as U+FFFD escapes."""
        return {
            "path": printable(self.path),
            "outcome": self.outcome.value,
            "output": None if self.output is None else printable(self.output),
            "reason": None if self.reason is None else self.reason.value,
            "detail": self.detail,
            "regions": [region.as_dict() for region in self.regions],
            "recipe": self.recipe,
            "lossless": self.lossless,
            "faces": len(self.regions),
            "milliseconds": self.milliseconds,
        }


def printable(path: str) -> str:
    """Return `path` as valid Unicode: bytes that are no UTF-8 become backslash escapes."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte: from a worker or a plugin
        return path.encode("utf-8", "backslashreplace").decode()
