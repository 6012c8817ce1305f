"""Who may read a result: permissions and POSIX ACLs as numbers and bytes. Pure.

In place, nobody may read a result who could not read the photo. In a mirror the folder's own rules count, as for any
new file there, but others get no more than the photo gave them.
"""

from __future__ import annotations

import re
import struct

_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_VERSION = 2  # of system.posix_acl_access, linux/posix_acl_xattr.h
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER, _NOBODY = 0x01, 0x04, 0x10, 0x20, 0xFFFFFFFF
_READ, _READ_WRITE, _NO_WRITE = 0o4, 0o6, 0o5

_MAY_READ, _INHERIT_ONLY = 0x90000001, 0x08  # FILE_READ_DATA, GENERIC_READ, GENERIC_ALL; for what will be made below
_EVERYONE = tuple(  # a line: type (0: allows), flags, size, rights, who; of S-1-1-0, and S-1-5-11: who has logged in
    re.compile(rb"\0(.)\x14\0(....)" + re.escape(bytes((1, 1, 0, 0, 0, 0, 0, first, last, 0, 0, 0))), re.DOTALL)
    for first, last in ((1, 0), (5, 11))
)

Entry = tuple[int, int, int]
"""Tag, permissions and user or group of one line of an ACL."""


def _classes(mode: int) -> tuple[int, int, int]:
    return mode >> 6 & 7, mode >> 3 & 7, mode & 7


def without_former(mode: int, *, owner_kept: bool, group_kept: bool) -> int:
    """Take from a mode what would open a file to others once its owner or group is another.

    The new group gets what everybody had. Who was in the old group, or was the owner, counts as everybody now: where
    they had less than that, so has everybody.
    """
    owner, group, other = _classes(mode)
    new_group, new_other = group, other
    if not group_kept:
        new_group, new_other = group & other, other & group
    if not owner_kept:
        new_group, new_other = new_group & owner, new_other & owner
    return owner << 6 | new_group << 3 | new_other


def acl_without_former(acl: bytes, *, owner_kept: bool, group_kept: bool) -> bytes:
    """Do the same to an ACL. Raises ValueError for what is none."""
    lines = _lines(acl)
    rights = {tag: bits for tag, bits, _ in lines}
    mode = rights[_USER_OBJ] << 6 | rights[_GROUP_OBJ] << 3 | rights[_OTHER]
    _, group, other = _classes(without_former(mode, owner_kept=owner_kept, group_kept=group_kept))
    return _changed(lines, {_GROUP_OBJ: group, _OTHER: other})


def file_mode(folder_mode: int, source_mode: int | None, *, of_folders_group: bool) -> int:
    """Give the mode of a new file in a mirror; `source_mode` None: not limited by its photo.

    `of_folders_group`: it belongs to the group of the folder, which then has what the folder gives it.
    """
    _, group, other = _classes(folder_mode)
    group &= _READ_WRITE if of_folders_group else _READ
    return limited(_READ_WRITE << 6 | group << 3 | other & _READ, source_mode)


def folder_mode(above_mode: int, source_mode: int | None, *, of_aboves_group: bool) -> int:
    """Give the mode of a new folder in a mirror, likewise, from that of the folder above."""
    _, group, other = _classes(above_mode)
    group &= 0o7 if of_aboves_group else _NO_WRITE
    return limited(0o700 | group << 3 | other & _NO_WRITE, source_mode)


def limited(mode: int, source_mode: int | None) -> int:
    """Give others no more than a photo gives them, and the group nothing where the photo's own group reads nothing."""
    if source_mode is None:
        return mode
    _, group, other = _classes(source_mode)
    return mode & (0o770 if group & _READ else 0o700) | mode & other


def limited_acl(acl: bytes, source_mode: int) -> bytes:
    """Limit an ACL that a folder gave to a new file in it by the mode of its photo. Raises ValueError."""
    lines = _lines(acl)
    rights = {tag: bits for tag, bits, _ in lines}
    _, group, other = _classes(source_mode)
    limits = {_OTHER: rights[_OTHER] & other}
    if not group & _READ:
        limits[_MASK if _MASK in rights else _GROUP_OBJ] = 0
    return _changed(lines, limits)


def as_seen_by_others(mode: int, acl: bytes | None, ntacl: bytes | None) -> int:
    """Give the mode that says what group and others may really do with a photo, by all that it has.

    With an ACL, the group's bits of a mode are a limit and not the group's. With Samba's own, a mode may be open to all
    while only Samba decides: then others count if a line of it is for everyone.
    """
    owner, group, other = _classes(mode)
    if acl is not None:
        rights = {tag: bits for tag, bits, _ in _lines(acl)}
        group = rights[_GROUP_OBJ] & rights.get(_MASK, 0o7)
    if ntacl is not None and not _everyone_reads(ntacl):
        other = 0
    return owner << 6 | group << 3 | other


def _everyone_reads(ntacl: bytes) -> bool:
    """Look for lines of a Windows ACL that let everyone, or everyone who logs in, read. [MS-DTYP] 2.4.4.2."""
    lines = [found for sid in _EVERYONE for found in sid.finditer(ntacl)]
    return any(int.from_bytes(line[2], "little") & _MAY_READ and not line[1][0] & _INHERIT_ONLY for line in lines)


def plain_acl(mode: int) -> bytes:
    """Write a mode as an ACL: setting that changes the mode, and leaves the set-group-ID bit of a folder alone."""
    tags = (_USER_OBJ, _GROUP_OBJ, _OTHER)
    return _packed([(tag, bits, _NOBODY) for tag, bits in zip(tags, _classes(mode), strict=True)])


def _lines(acl: bytes) -> list[Entry]:
    if len(acl) < _HEADER.size or _HEADER.unpack_from(acl)[0] != _VERSION or (len(acl) - _HEADER.size) % _ENTRY.size:
        raise ValueError("no POSIX ACL")
    lines = list(_ENTRY.iter_unpack(acl[_HEADER.size :]))
    if not {_USER_OBJ, _GROUP_OBJ, _OTHER} <= {tag for tag, _, _ in lines}:
        raise ValueError("a POSIX ACL without owner, group or others")
    return lines


def _changed(lines: list[Entry], changes: dict[int, int]) -> bytes:
    return _packed([(tag, changes.get(tag, bits), who) for tag, bits, who in lines])


def _packed(lines: list[Entry]) -> bytes:
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*line) for line in lines)
