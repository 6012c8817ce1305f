"""What a result has beside its bytes, on real files: access control, owner, attributes; new folders of a mirror."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.model import Fingerprint, Mode
from faceblurd.publish import attributes, delivery
from faceblurd.publish.attributes import WHOLE
from faceblurd.publish.staging import Target, open_staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faceblurd.publish.attributes import Terms

IN_PLACE, MIRROR = delivery.terms_of(Mode.IN_PLACE), delivery.terms_of(Mode.MIRROR)
ACL = "system.posix_acl_access"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and security attributes are root's to set")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.jpg"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    try:
        os.setxattr(path, "user.mime_type", b"image/jpeg")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    return path


@pytest.fixture
def result(photo: Path, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Stage a result of the photo; gives its descriptor."""
    made = []

    def stage(terms: Terms, path: str = "photo.jpg", *, root: Path = tmp_path / "out") -> int:
        root.mkdir(exist_ok=True)
        source = os.open(photo, os.O_RDONLY)
        try:
            staging = open_staging(
                Target(str(root), path), token=secrets.token_hex(8), source_fd=source, terms=terms,
                source_root=str(photo.parent),
            )  # fmt: skip
        finally:
            os.close(source)
        made.append(staging)
        return staging.fd

    yield stage
    for staging in made:
        staging.discard()


def _mode(fd: int) -> str:
    return oct(stat.S_IMODE(os.fstat(fd).st_mode))


def _setfacl(*arguments: Any) -> None:
    try:
        subprocess.run(["setfacl", *arguments], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ACLs here: {error}")


def _getfacl(path: str) -> str:
    return subprocess.run(["getfacl", "-cnE", path], check=True, capture_output=True, text=True).stdout


# --- extended attributes


@pytest.mark.parametrize("terms", [IN_PLACE, MIRROR], ids=["in place", "mirror"])
def test_only_attributes_that_are_known_to_be_harmless_go_over(
    photo: Path, result: Callable[..., int], terms: Terms
) -> None:
    os.setxattr(photo, "user.DosStream.preview:$DATA", b"\xff\xd8\xff" + bytes(500))
    os.setxattr(photo, "user.xdg.tags", b"Ann,Bob")
    assert [name for name in os.listxattr(result(terms)) if name.startswith("user.")] == ["user.mime_type"]


def test_none_goes_over_where_all_metadata_is_stripped(photo: Path, result: Callable[..., int]) -> None:
    fd = result(delivery.terms_of(Mode.MIRROR, keeps_user=False))
    assert not [name for name in os.listxattr(fd) if name.startswith("user.")]


def test_a_moved_file_keeps_them_all(photo: Path, result: Callable[..., int]) -> None:
    os.setxattr(photo, "user.xdg.tags", b"Ann,Bob")
    assert os.getxattr(result(WHOLE), "user.xdg.tags") == b"Ann,Bob"


def test_a_photo_that_stays_as_it_is_loses_what_may_not_stay_beside_it(photo: Path) -> None:
    os.setxattr(photo, "user.xdg.tags", b"Ann,Bob")
    before, fd = Fingerprint.from_stat(photo.stat()), os.open(photo, os.O_RDONLY)
    after = attributes.strip(fd, before, keeps_user=True)
    os.close(fd)
    assert [name for name in os.listxattr(photo) if name.startswith("user.")] == ["user.mime_type"]
    assert after == Fingerprint.from_stat(photo.stat())


def test_an_attribute_that_cannot_be_removed_is_named(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.setxattr(photo, "user.xdg.tags", b"Ann,Bob")
    before, fd = Fingerprint.from_stat(photo.stat()), os.open(photo, os.O_RDONLY)
    monkeypatch.setattr(os, "removexattr", _refuse(errno.EACCES))
    with pytest.raises(PermissionError, match=r"user\.xdg\.tags"):
        attributes.strip(fd, before, keeps_user=True)
    os.close(fd)


def _refuse(number: int, names: tuple[str, ...] = ()) -> Callable[..., None]:
    real = os.setxattr

    def refuse(fd: int, name: str, *rest: Any) -> None:
        if names and name not in names:
            return real(fd, name, *rest)
        raise OSError(number, os.strerror(number))

    return refuse


# --- in place


@needs_root
@pytest.mark.parametrize("name", ["security.NTACL", "security.selinux"])
def test_access_control_goes_over_in_place(photo: Path, result: Callable[..., int], name: str) -> None:
    os.setxattr(photo, name, b"only ann")
    assert os.getxattr(result(IN_PLACE), name) == b"only ann"


SAMBAS = b"\4\0\4\0\0\0" + bytes(60)


@pytest.mark.parametrize("keeps_user", [True, False])
@pytest.mark.parametrize("name", ["user.NTACL", "user.samba.acl"])
def test_an_acl_that_samba_keeps_among_the_users_attributes_stays_whatever_else_goes(
    photo: Path, result: Callable[..., int], name: str, *, keeps_user: bool
) -> None:
    os.setxattr(photo, name, SAMBAS)
    os.setxattr(photo, "user.other_acl", b"\xff\xd8\xff" + bytes(60))
    made = result(delivery.terms_of(Mode.IN_PLACE, keeps_user=keeps_user))
    assert os.getxattr(made, name) == SAMBAS
    assert "user.other_acl" not in os.listxattr(made)
    fd = os.open(photo, os.O_RDONLY)
    attributes.strip(fd, Fingerprint.from_stat(photo.stat()), keeps_user=keeps_user)
    os.close(fd)
    assert os.getxattr(photo, name) == SAMBAS
    assert "user.other_acl" not in os.listxattr(photo)


@needs_root
def test_so_does_an_acl_of_a_kind_that_nobody_listed(photo: Path, result: Callable[..., int]) -> None:
    os.setxattr(photo, "security.nfs4acl_ndr", b"only ann")
    assert os.getxattr(result(IN_PLACE), "security.nfs4acl_ndr") == b"only ann"


def test_what_only_sambas_own_acl_keeps_from_others_is_theirs_in_no_mirror(
    photo: Path, result: Callable[..., int]
) -> None:
    photo.chmod(0o666)
    os.setxattr(photo, "user.NTACL", SAMBAS)
    assert _mode(result(MIRROR))[-1] == "0"


@needs_root
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EACCES])
def test_a_photo_whose_access_control_cannot_be_kept_is_refused_and_the_reason_names_it(
    photo: Path, result: Callable[..., int], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    os.setxattr(photo, "security.NTACL", b"only ann")
    monkeypatch.setattr(os, "setxattr", _refuse(number, ("security.NTACL",)))
    with pytest.raises(PermissionError, match=r"security\.NTACL.*CAP_SYS_ADMIN"):
        result(IN_PLACE)


@needs_root
def test_a_file_that_is_moved_away_is_moved_all_the_same_and_is_its_owners_alone(
    photo: Path, result: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(photo, "security.NTACL", b"only ann")
    photo.chmod(0o664)
    monkeypatch.setattr(os, "setxattr", _refuse(errno.EPERM, ("security.NTACL",)))
    assert _mode(result(WHOLE)) == "0o600"


@needs_root
def test_a_label_of_selinux_that_nobody_asks_for_holds_no_photo(
    photo: Path, result: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(photo, "security.selinux", b"u:r:t\0")
    monkeypatch.setattr(os, "setxattr", _refuse(errno.EPERM, ("security.selinux",)))
    monkeypatch.setattr(attributes, "_SELINUX_RUNS", "/nowhere")
    result(IN_PLACE)
    monkeypatch.setattr(attributes, "_SELINUX_RUNS", "/")
    with pytest.raises(PermissionError, match=r"security\.selinux"):
        result(IN_PLACE)


@needs_root
def test_a_group_that_cannot_be_kept_takes_its_rights_along(
    photo: Path, result: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(photo, 4711, 4712)
    photo.chmod(0o640)
    monkeypatch.setattr(os, "fchown", _refuse(errno.EPERM))
    fd = result(IN_PLACE)
    assert (_mode(fd), os.fstat(fd).st_gid) == ("0o600", os.getegid())


@needs_root
def test_so_does_one_of_an_acl(photo: Path, result: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(photo, 4711, 4712)
    photo.chmod(0o640)
    _setfacl("-m", "u:12345:r", photo)
    monkeypatch.setattr(os, "fchown", _refuse(errno.EPERM))
    lines = _getfacl(f"/proc/{os.getpid()}/fd/{result(IN_PLACE)}").split()
    assert lines == ["user::rw-", "user:12345:r--", "group::---", "mask::r--", "other::---"]


# --- in a mirror


def test_a_default_acl_of_the_folder_counts_in_a_mirror(
    photo: Path, result: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    _setfacl("-d", "-m", "u:12345:r,g::r,o::r", tmp_path / "out")
    lines = _getfacl(f"/proc/{os.getpid()}/fd/{result(MIRROR, 'deeper/photo.jpg')}").split()
    assert lines == ["user::rw-", "user:12345:r--", "group::r--", "mask::r--", "other::r--"]


def test_but_a_private_photo_stays_private(photo: Path, result: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _setfacl("-d", "-m", "u:12345:r,g::r,o::r", tmp_path / "out")
    photo.chmod(0o600)
    lines = _getfacl(f"/proc/{os.getpid()}/fd/{result(MIRROR)}").split()
    assert {"mask::---", "other::---"} <= set(lines)
    open_to_all = _getfacl(f"/proc/{os.getpid()}/fd/{result(delivery.terms_of(Mode.MIRROR, limited=False))}").split()
    assert {"mask::r--", "other::r--"} <= set(open_to_all)


@needs_root
def test_the_group_of_a_set_group_id_folder_is_that_of_what_is_in_it(
    photo: Path, result: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, -1, 4712)
    out.chmod(0o2775)
    photo.parent.chmod(0o755)
    fd = result(MIRROR, "a/b/photo.jpg")
    assert (_mode(fd), os.fstat(fd).st_gid) == ("0o664", 4712)
    for folder in (out / "a", out / "a/b"):
        assert (oct(folder.stat().st_mode & 0o7777), folder.stat().st_gid) == ("0o2775", 4712)


def test_a_new_folder_is_no_more_open_than_that_of_the_originals(
    photo: Path, result: Callable[..., int], tmp_path: Path
) -> None:
    (photo.parent / "private").mkdir(mode=0o700)
    result(MIRROR, "private/photo.jpg")
    assert oct((tmp_path / "out" / "private").stat().st_mode & 0o777) == "0o700"
    result(delivery.terms_of(Mode.MIRROR, limited=False), "other/photo.jpg")
    assert (tmp_path / "out" / "other").stat().st_mode & 0o777 == (tmp_path / "out").stat().st_mode & 0o777


def test_the_umask_of_the_service_does_not_close_a_mirror(
    photo: Path, result: Callable[..., int], tmp_path: Path
) -> None:
    photo.chmod(0o644)
    (tmp_path / "out").mkdir(mode=0o755)
    before = os.umask(0o077)
    try:
        fd = result(MIRROR, "new/photo.jpg")
    finally:
        os.umask(before)
    assert _mode(fd) == "0o644"
    assert oct((tmp_path / "out" / "new").stat().st_mode & 0o777) == "0o755"
