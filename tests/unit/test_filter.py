"""Which names are candidates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.rules.filter import Candidate, LeftAlone, Selection, Why, ignored_file
from faceblurd.rules.foreign import FOREIGN, Foreign, split, staging_name

IMAGES = ("*.jpg", "*.jpeg", "*.png")


def wanted(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    return isinstance(Selection(include, exclude).of(path), Candidate)


def ignored_directory(path: str, exclude: tuple[str, ...]) -> bool:
    return Selection((), exclude).of_folder(path) is not None


names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(lambda n: n not in {".", ".."})


@pytest.mark.parametrize(
    "path",
    [
        "photo.jpg",
        "PHOTO.JPG",
        "deep/er/photo.Jpeg",
        "IMG_1.sync-conflict-20260101-120000-ABCDEFG.jpg",  # conflict copies are photos that nobody blurred
        "IMG_1_conflict-20260101-120000.jpg",
        "photo (conflicted copy).jpg",
        ".hidden.jpg",
        "tmp/photo.jpg",
        "a.tmp.jpg",
        "new\nline.jpg",
        "caf\udce9.jpg",
        ".holiday.png",
    ],
)
def test_a_photo_is_wanted_whatever_else_its_name_says(path: str) -> None:
    assert wanted(path, IMAGES, ())


@pytest.mark.parametrize(
    "path",
    [
        ".photo.jpg.Ab12Cd",
        "photo.jpg.6eF5b5dA",
        "in/.photo.jpg.Ab12Cd",
        ".syncthing.photo.jpg.tmp",
        "~syncthing~photo.jpg.tmp",
        ".photo.jpg.~1a2b",
        "photo.jpg.part",
        "photo.jpg.crdownload",
        "._photo.jpg",
        "in/._photo.jpg",
        ".nfs000001",
        ".fuse_hidden0001",
        "~$photo.jpg",
        "Thumbs.db",
        "THUMBS.DB",
        ".faceblurd-0011223344556677.tmp",
    ],
)
def test_unfinished_and_foreign_files_are_ignored_even_when_everything_is_included(path: str) -> None:
    assert ignored_file(path)
    assert not wanted(path, ("*",), ())


@pytest.mark.parametrize(
    "directory",
    [".~tmp~", ".rsync-partial", ".stversions", "@eaDir", "#recycle", "#snapshot", ".Trash-1000", "__MACOSX", "@EADIR"],
)
def test_nothing_below_a_tools_own_directory_is_wanted_at_any_depth(directory: str) -> None:
    assert ignored_directory(directory, ())
    assert ignored_directory(f"a/{directory}", ())
    assert not wanted(f"{directory}/photo.jpg", IMAGES, ())
    assert not wanted(f"a/{directory}/b/photo.jpg", IMAGES, ())


def test_a_directory_that_only_resembles_an_ignored_one_is_searched() -> None:
    assert wanted("my@eaDir/photo.jpg", IMAGES, ())
    assert wanted("tmp/photo.jpg", IMAGES, ())


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        ("private", "private/a.jpg", False),
        ("private", "x/private/y/a.jpg", False),
        ("private", "private.jpg", True),
        ("private/**", "private/a.jpg", False),
        ("private/**", "x/private/a.jpg", True),
        ("**/private/**", "x/private/a.jpg", False),
        ("**/private/**", "private/a.jpg", False),
        ("a/*.jpg", "a/b.jpg", False),
        ("a/*.jpg", "a/b/c.jpg", True),
        ("IMG_???.jpg", "IMG_123.jpg", False),
        ("IMG_???.jpg", "IMG_1234.jpg", True),
        ("[ab].jpg", "a.jpg", False),
        ("[!ab].jpg", "a.jpg", True),
        ("[!ab].jpg", "c.jpg", False),
        ("a+b.jpg", "aab.jpg", True),
        ("a+b.jpg", "a+b.jpg", False),
    ],
)
def test_an_exclude_pattern_means_what_it_says(exclude: str, path: str, *, expected: bool) -> None:
    assert wanted(path, IMAGES, (exclude,)) is expected


@pytest.mark.parametrize(
    "odd", ["[z-a]", "[!z-a]", "[!]]", "[[]", "[]a]", "[a--b]", "[a||b]", "[\\z]", "[^a]", "[", "[]", "[!]"]
)
@pytest.mark.filterwarnings("error")
def test_an_odd_character_class_does_not_stop_the_daemon(odd: str) -> None:
    wanted("a.jpg", IMAGES, (f"{odd}.jpg", odd))


def test_a_range_excludes_what_lies_in_it() -> None:
    excluded = [name for name in "abcde-" if not wanted(f"{name}.jpg", IMAGES, ("[b-d].jpg",))]
    assert excluded == ["b", "c", "d"]


def test_nothing_is_wanted_without_an_include_pattern() -> None:
    assert not wanted("photo.jpg", (), ())


@given(st.lists(names, min_size=1, max_size=4), st.text(max_size=20), st.text(max_size=20))
def test_no_name_and_no_pattern_raises(parts: list[str], include: str, exclude: str) -> None:
    wanted("/".join(parts), (include,), (exclude,))


@given(st.lists(names, min_size=1, max_size=4))
def test_a_pattern_made_of_plain_text_excludes_exactly_that_path(parts: list[str]) -> None:
    path = "/".join(parts)
    literal = "".join(f"[{character}]" if character in "*?" else character for character in path)
    if "[" in path or "]" in path:
        return  # no way to write them literally
    assert not wanted(path, ("*",), (literal,))


@given(st.text("0123456789abcdef", min_size=16, max_size=16))
def test_our_own_staging_files_are_ignored(token: str) -> None:
    assert ignored_file(staging_name(token))
    assert len(staging_name(token)) < 100


@given(st.lists(names, min_size=1, max_size=4))
def test_a_path_is_split_at_its_last_slash(parts: list[str]) -> None:
    assert split("/".join(parts)) == ("/".join(parts[:-1]), parts[-1])


def test_a_leading_slash_ties_a_glob_to_the_root() -> None:
    assert not wanted("private/a.jpg", ("*.jpg",), ("/private",))
    assert wanted("x/private/a.jpg", ("*.jpg",), ("/private",))
    assert not wanted("x/private/a.jpg", ("*.jpg",), ("private",))


# --- how people and disks spell


@pytest.mark.parametrize(
    ("exclude", "path"),
    [
        ("priv\u00e9/**", "prive\u0301/a.jpg"),
        ("prive\u0301/**", "priv\u00e9/a.jpg"),
        ("PRIVE\u0301/**", "priv\u00e9/a.jpg"),
        ("./private/**", "private/a.jpg"),
        (".//private/**", "private/a.jpg"),
        ("./private", "private/a.jpg"),
        ("private//**", "private/a.jpg"),
        ("private/./**", "private/a.jpg"),
        ("private//", "x/private/a.jpg"),
        ("Trip [2024]/**", "Trip [2024]/a.jpg"),
        ("Trip [2024]", "x/Trip [2024]/a.jpg"),
        ("[private]/*.jpg", "[private]/a.jpg"),
        ("a[1]/b[2]/**", "a[1]/b[2]/c.jpg"),
    ],
)
def test_an_exclude_matches_whatever_the_spelling(exclude: str, path: str) -> None:
    assert not wanted(path, IMAGES, (exclude,))


def test_brackets_still_stand_for_one_of_the_characters_in_them() -> None:
    assert not wanted("2/a.jpg", IMAGES, ("[2024]/**",))
    assert wanted("3/a.jpg", IMAGES, ("[2024]/**",))


def test_an_include_matches_whatever_the_spelling_too() -> None:
    assert wanted("e\u0301te\u0301/a.jpg", ("./\u00e9t\u00e9//*.jpg",), ())


# --- servers and programs


def _example(name: str) -> str:
    """Make a path of a glob in the table."""
    plain = (
        name.replace("**/", "some/").replace("[!_]", "q").replace("[.@#$~_]", "_").replace("?", "7").replace("*", "x")
    )
    return f"{plain}deep/photo.jpg" if name.endswith("/") else plain


@pytest.mark.parametrize(("owner", "name"), [(one.owner, name) for one in FOREIGN for name in one.names])
def test_what_a_server_keeps_is_left_alone_at_any_depth_and_the_answer_names_the_server(owner: str, name: str) -> None:
    everything = Selection(("*",), ())
    for path in (_example(name), f"album/2024/{_example(name)}", _example(name).upper()):
        verdict = everything.of(path)
        assert isinstance(verdict, LeftAlone), path
        assert verdict.why is Why.FOREIGN
    assert everything.of(_example(name)) == LeftAlone(Why.FOREIGN, f"{owner}: {name.rstrip('/')}")


@pytest.mark.parametrize(
    ("path", "in_place"),
    [
        ("@__thumb/a.jpg", True), ("_thumbs/a.jpg", True), ("#Recycle Bin/a.jpg", True), ("@Trash/a.jpg", True),
        ("Network Recycle Bin/a.jpg", True), ("~trash/a.jpg", True), ("@daily-snapshots/a.jpg", False),
        ("_versions/a.jpg", False), ("#snapshot 2/a.jpg", False),
    ],
)  # fmt: skip
def test_bins_previews_and_snapshots_of_servers_that_nobody_listed_are_known_by_what_they_say(
    path: str, *, in_place: bool
) -> None:
    assert not wanted(path, IMAGES, ())
    assert isinstance(Selection(IMAGES, (), in_place=True).of(path), Candidate) is in_place


def test_eight_digits_behind_a_name_are_a_date() -> None:
    assert Selection(IMAGES, (), by_content=True).of("x.jpg.20241128") == Candidate(by_content=True)


@pytest.mark.parametrize(("row", "name"), [(row, name) for row in FOREIGN for name in row.names])
def test_in_place_bins_and_previews_are_photos_and_half_written_files_and_snapshots_are_not(
    row: Foreign, name: str
) -> None:
    verdict = Selection(("*",), (), in_place=True).of(_example(name))
    assert isinstance(verdict, Candidate) is row.in_place


@pytest.mark.parametrize(
    "path",
    [
        "thumbs.jpg",
        "my thumbs/a.jpg",
        "recycle/a.jpg",
        "x.download.jpg",
        "trashed-1.jpg",
        "Originals/a.jpg",
        "my thumb/a.jpg",
        "Best versions/a.jpg",
        "a snapshot/a.jpg",
        "uploading.jpg",
        "recycling/a.jpg",
    ],
)
def test_names_that_only_resemble_a_servers_are_photos(path: str) -> None:
    assert wanted(path, IMAGES, ())


# --- hidden folders, and the rest


def test_hidden_folders_are_left_alone_where_the_selection_says_so() -> None:
    mirror, in_place = (Selection(IMAGES, (), hidden=hidden) for hidden in (False, True))
    assert mirror.of("x/.album/y/a.jpg") == LeftAlone(Why.HIDDEN)
    assert in_place.of("x/.album/y/a.jpg") == Candidate()
    assert mirror.of("x/.hidden.jpg") == Candidate()


@pytest.mark.parametrize(
    "path",
    [
        "x.jpg ", "x.jpg_large", "IMG_0001", "x.jpg~", "x.jpg_original", "x.bak", "x.jpg.orig", "x.THM", "x.mpo",
        "x.jps", "x.insp", "x.", ".IMG", "x.3fr",
    ],
)  # fmt: skip
def test_a_file_that_no_name_tells_about_is_looked_into(path: str) -> None:
    assert Selection(IMAGES, (), by_content=True).of(path) == Candidate(by_content=True)
    assert Selection(IMAGES, ()).of(path) == LeftAlone(Why.NOT_INCLUDED)


@pytest.mark.parametrize("path", ["x.mov", "x.XMP", "x.txt", "x.jpg.zip", "notes.pdf"])
def test_a_file_that_is_known_to_be_no_photo_is_not(path: str) -> None:
    verdict = Selection(IMAGES, (), by_content=True).of(path)
    assert isinstance(verdict, LeftAlone)
    assert verdict.why is Why.OTHER_KIND
