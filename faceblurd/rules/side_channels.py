"""What a photo carries outside of its bytes, and what becomes of it: the table that code and docs share. Pure.

Extended attributes are a list of what may stay: whoever finds a new one must show first that it holds no picture, no
name and no place. docs/metadata.md shows the table (tests/test_docs.py compares).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from fnmatch import fnmatchcase

POSIX_ACL = "system.posix_acl_access"
NTACL = "security.NTACL"
SELINUX = "security.selinux"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A kind of extended attribute. `most_bytes`: how long it may be to stay, 0 for one that never does."""

    names: str
    what: str
    most_bytes: int = 0


ATTRIBUTES = (
    Attribute("user.DOSATTRIB", "Samba: hidden, read-only, time of creation", 128),
    Attribute("user.SAMBA_PAI", "Samba: which lines of an ACL are inherited", 256),
    Attribute("user.mime_type", "type of the content (freedesktop.org, Apache)", 128),
    Attribute("user.com.apple.FinderInfo", "macOS: type, creator, colour of the label", 32),
    Attribute("user.baloo.rating", "KDE, digiKam: stars", 8),
    Attribute("user.DosStream.*", "Samba: alternate data streams, previews among them, and the page it came from"),
    Attribute("user.xdg.tags", "KDE, digiKam: keywords, names of people among them"),
    Attribute("user.xdg.comment", "comments"),
    Attribute("user.xdg.origin.*", "where it was downloaded"),
    Attribute("user.xdg.referrer.*", "where it was downloaded"),
    Attribute("user.com.apple.metadata:*", "macOS: tags, comments, where it was downloaded"),
    Attribute("user.com.apple.ResourceFork", "macOS: resource fork, with previews and icons"),
    Attribute("user.org.netatalk.*", "Netatalk: comments, resource fork"),
    Attribute("user.*", "anything else"),
)
"""The first that fits counts."""

ACCESS_CONTROL = (
    POSIX_ACL,
    NTACL,  # Samba, vfs_acl_xattr
    "system.nfs4_acl", "system.nfs4_acl_xdr", "system.richacl",  # NFSv4, ZFS
    "system.cifs_acl", "system.ntfs_security",
    SELINUX, "security.SMACK64",
)  # fmt: skip
"""What decides who may read a file, beside its mode: goes over in place, whole, or the photo is held."""

_ACL_OF_A_KIND = re.compile(r"(?:system|security)\..*acl(?!.*default).*", re.IGNORECASE)
_ACL_OF_A_USER = re.compile(r"user\..*acl", re.IGNORECASE)
_NTACL_VERSIONS = frozenset(range(1, 5))  # the first number of Samba's blob, little-endian
_MOST_ACL_BYTES = 4096

APPLE_DOUBLE_PREFIX, APPLE_DOUBLE_FOLDER = "._", ".AppleDouble"
_MAGIC = b"\x00\x05\x16\x07"
_HEADER, _ENTRY = struct.Struct(">4sI16xH"), struct.Struct(">III")
_MOST_BYTES_OF = {2: 286, 3: 1024, 8: 16, 9: 32, 10: 8, 11: 8, 14: 4, 15: 4}
"""By the number of an entry, what it may hold and stay: the placeholder of an empty resource fork, the file's own name,
dates, the Finder's flags, other systems' flags, Netatalk's numbers. Longer Finder information holds attributes."""


def decides_access(name: str, value: bytes) -> bool:
    """Say whether an extended attribute decides who may read a file: known, or an ACL by its name.

    Samba keeps its own under any name that it is told (`acl_xattr:security_acl_name = user.NTACL`): there, it must
    begin like one, since anybody may write it.
    """
    if name in ACCESS_CONTROL or _ACL_OF_A_KIND.fullmatch(name):
        return True
    version = int.from_bytes(value[:2], "little")
    return bool(_ACL_OF_A_USER.fullmatch(name)) and version in _NTACL_VERSIONS and len(value) <= _MOST_ACL_BYTES


def may_stay(name: str, value: bytes) -> bool:
    """Say whether an extended attribute of the user's goes over to a result."""
    fits = next((one for one in ATTRIBUTES if fnmatchcase(name, one.names)), None)
    return fits is not None and 0 < fits.most_bytes >= len(value)


def photo_of_companion(path: str) -> str | None:
    """Give the path of the photo whose resource fork a path may hold; None for any other path."""
    folder, slash, name = path.rpartition("/")
    if name.startswith(APPLE_DOUBLE_PREFIX) and len(name) > len(APPLE_DOUBLE_PREFIX):
        return folder + slash + name[len(APPLE_DOUBLE_PREFIX) :]
    above, _, last = folder.rpartition("/")
    if last == APPLE_DOUBLE_FOLDER:
        return f"{above}/{name}" if above else name
    return None


def is_apple_double(head: bytes) -> bool:
    """Say whether a file by its start is AppleDouble: what macOS keeps beside a file where it cannot keep it in it."""
    return head.startswith(_MAGIC)


def companion_may_stay(content: bytes) -> bool:
    """Say whether an AppleDouble file holds flags and dates alone: no preview, no keyword, no page it came from."""
    if len(content) < _HEADER.size:
        return False
    count = _HEADER.unpack_from(content)[2]
    table = content[_HEADER.size : _HEADER.size + count * _ENTRY.size]
    if len(table) < count * _ENTRY.size:
        return False
    entries = list(_ENTRY.iter_unpack(table))
    end = _HEADER.size + len(table) + sum(length for _, _, length in entries)
    return len(content) <= end + 2 and all(length <= _MOST_BYTES_OF.get(kind, 0) for kind, _, length in entries)
