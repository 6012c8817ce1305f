"""Modes and ACLs of results: never more open than the photo, in a mirror as the folder says."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.rules import access

NONE = 0xFFFFFFFF
modes = st.integers(0, 0o777)
CLASSES = ("owner", "group", "other")


def _bits(mode: int, who: str) -> int:
    return mode >> {"owner": 6, "group": 3, "other": 0}[who] & 7


@given(modes, st.booleans(), st.booleans())
def test_nobody_gets_more_in_place_than_before(mode: int, owner_kept: bool, group_kept: bool) -> None:
    """Former owner, former group, new group and all others, each against what they had."""
    now = access.without_former(mode, owner_kept=owner_kept, group_kept=group_kept)
    had_as_stranger = _bits(mode, "other")
    if not owner_kept:  # he counts as one of the group, or as anybody
        assert not (_bits(now, "group") | _bits(now, "other")) & ~_bits(mode, "owner")
    if not group_kept:  # the new group are strangers, the old one becomes strangers
        assert not _bits(now, "group") & ~had_as_stranger
        assert not _bits(now, "other") & ~_bits(mode, "group")
    assert not _bits(now, "group") & ~_bits(mode, "group")
    assert not _bits(now, "other") & ~had_as_stranger


@given(modes)
def test_a_mode_stays_what_it_is_where_owner_and_group_stay(mode: int) -> None:
    assert access.without_former(mode, owner_kept=True, group_kept=True) == mode


@given(modes, st.booleans(), st.booleans())
def test_an_acl_without_names_is_cut_as_a_mode_is(mode: int, owner_kept: bool, group_kept: bool) -> None:
    cut = access.acl_without_former(access.plain_acl(mode), owner_kept=owner_kept, group_kept=group_kept)
    assert cut == access.plain_acl(access.without_former(mode, owner_kept=owner_kept, group_kept=group_kept))


@pytest.mark.parametrize(
    ("folder", "source", "of_group", "expected"),
    [
        (0o2775, 0o644, True, 0o664),
        (0o755, 0o644, True, 0o644),
        (0o755, 0o640, True, 0o640),
        (0o755, 0o600, True, 0o600),
        (0o775, 0o644, False, 0o644),
        (0o1777, 0o666, False, 0o644),  # never writable for all
        (0o700, 0o644, True, 0o600),
        (0o2770, 0o664, True, 0o660),
        (0o2775, None, True, 0o664),
        (0o755, 0o755, True, 0o644),  # no program
    ],
)
def test_a_file_in_a_mirror_is_as_open_as_its_folder_but_not_more_than_its_photo(
    folder: int, source: int | None, of_group: bool, expected: int
) -> None:
    assert oct(access.file_mode(folder, source, of_folders_group=of_group)) == oct(expected)


@pytest.mark.parametrize(
    ("above", "source", "of_group", "expected"),
    [
        (0o2775, 0o755, True, 0o775),
        (0o2775, 0o700, True, 0o700),
        (0o755, 0o2775, True, 0o755),
        (0o777, 0o755, False, 0o755),
        (0o2770, None, True, 0o770),
        (0o755, 0o750, True, 0o750),
    ],
)
def test_a_folder_in_a_mirror_is_as_open_as_the_one_above(
    above: int, source: int | None, of_group: bool, expected: int
) -> None:
    assert oct(access.folder_mode(above, source, of_aboves_group=of_group)) == oct(expected)


@given(modes, modes)
def test_a_limited_acl_gives_others_no_more_than_the_photo(mode: int, source: int) -> None:
    assert access.limited_acl(access.plain_acl(mode), source) == access.plain_acl(access.limited(mode, source))


@pytest.mark.parametrize("acl", [b"", b"\2\0\0\0", b"\1\0\0\0" + bytes(24), b"\2\0\0\0" + bytes(23)])
def test_what_is_no_acl_is_refused(acl: bytes) -> None:
    with pytest.raises(ValueError, match="ACL"):
        access.limited_acl(acl, 0o644)


def _line(kind: int, flags: int, rights: int, sid: bytes) -> bytes:
    """Write one line of a Windows ACL."""
    return bytes((kind, flags, 8 + len(sid), 0)) + rights.to_bytes(4, "little") + sid


EVERYONE = bytes((1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0))
LOGGED_IN = bytes((1, 1, 0, 0, 0, 0, 0, 5, 11, 0, 0, 0))
ANN = bytes((1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0)) + bytes(16)


@pytest.mark.parametrize(
    ("lines", "others"),
    [
        ((0, 0, 0x1200A9, EVERYONE), True),
        ((0, 0x10, 0x1F01FF, LOGGED_IN), True),
        ((0, 0, 0x1F01FF, ANN), False),
        ((1, 0, 0x1200A9, EVERYONE), False),  # denies
        ((0, 0x0B, 0x1200A9, EVERYONE), False),  # for files made below
        ((0, 0, 0x100080, EVERYONE), False),  # may look at attributes
    ],
)
def test_others_count_as_sambas_own_acl_says(lines: tuple[int, int, int, bytes], others: bool) -> None:
    seen = access.as_seen_by_others(0o666, None, b"\4\0\0\0 a header" + _line(*lines) + b"rest")
    assert oct(seen) == ("0o666" if others else "0o660")


def test_the_group_of_a_photo_with_an_acl_has_what_its_own_line_says() -> None:
    lines = [(1, 6, NONE), (2, 4, 1111), (4, 0, NONE), (0x10, 4, NONE), (0x20, 0, NONE)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *line) for line in lines)
    assert oct(access.as_seen_by_others(0o640, acl, None)) == "0o600"
