"""What may stay beside a photo: attributes, and the companions that macOS makes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.rules import side_channels as rules


@pytest.mark.parametrize(
    "name",
    [
        "user.DosStream.preview.jpg:$DATA", "user.DosStream.Zone.Identifier:$DATA", "user.xdg.tags", "user.xdg.comment",
        "user.xdg.origin.url", "user.com.apple.metadata:_kMDItemUserTags", "user.com.apple.ResourceFork",
        "user.org.netatalk.Metadata", "user.org.netatalk.ResourceFork", "user.thumbnail", "user.DOSATTRIBX", "user.",
        "user.baloo.rating.jpg",
    ],
)  # fmt: skip
def test_an_attribute_that_is_not_known_to_be_harmless_goes(name: str) -> None:
    assert not rules.may_stay(name, b"")
    assert not rules.may_stay(name, b"x" * 20)


@pytest.mark.parametrize("name", ["user.DOSATTRIB", "user.mime_type", "user.com.apple.FinderInfo", "user.SAMBA_PAI"])
def test_a_harmless_attribute_stays_unless_it_is_long_enough_for_a_picture(name: str) -> None:
    assert rules.may_stay(name, bytes(32))
    assert not rules.may_stay(name, b"\xff\xd8\xff" + bytes(2000))


@pytest.mark.parametrize(
    ("path", "photo"),
    [
        ("._x.jpg", "x.jpg"), ("a/b/._x.jpg", "a/b/x.jpg"), (".AppleDouble/x.jpg", "x.jpg"),
        ("a/.AppleDouble/x.jpg", "a/x.jpg"), ("a/x.jpg", None), ("._", None), ("a/.AppleDouble.jpg", None),
    ],
)  # fmt: skip
def test_a_companion_names_its_photo(path: str, photo: str | None) -> None:
    assert rules.photo_of_companion(path) == photo


def apple_double(entries: dict[int, bytes]) -> bytes:
    """Make an AppleDouble file: its entries by number."""
    table, body, at = b"", b"", 26 + 12 * len(entries)
    for number, content in entries.items():
        table += struct.pack(">III", number, at + len(body), len(content))
        body += content
    return struct.pack(">4sI16xH", b"\0\5\x16\7", 0x20000, len(entries)) + table + body


def test_a_companion_of_flags_and_dates_stays() -> None:
    content = apple_double({9: bytes(32), 2: bytes(286)})
    assert rules.is_apple_double(content)
    assert rules.companion_may_stay(content)


@pytest.mark.parametrize(
    "entries", [{2: bytes(5000)}, {9: bytes(3760)}, {4: b"Ann and Bob"}, {9: bytes(32), 77: b"?"}], ids=str
)
def test_a_companion_with_a_fork_attributes_comments_or_unknown_things_goes(entries: dict[int, bytes]) -> None:
    assert not rules.companion_may_stay(apple_double(entries))


def test_what_lies_behind_the_entries_of_a_companion_counts() -> None:
    assert not rules.companion_may_stay(apple_double({9: bytes(32)}) + b"\xff\xd8\xff" + bytes(500))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_rule_raise(content: bytes) -> None:
    rules.companion_may_stay(content)
    rules.companion_may_stay(b"\0\5\x16\7" + content)
