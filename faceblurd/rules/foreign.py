"""Files and folders that servers and programs keep among photos: the table that code and docs share. Pure.

Half-written uploads, previews, recycle bins, snapshots and caches: none is anybody's finished photo, and most show
faces. docs/config.md shows the table (tests/test_docs.py compares). Conflict copies are *not* in it: they are photos
that nobody blurred. Sources: the tools' documentation, and what they were seen to write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from faceblurd.rules.globs import first_match
from faceblurd.rules.naming import STAGING_PREFIX


@dataclass(frozen=True, slots=True)
class Foreign:
    """What one server or program keeps: globs, those of folders with a `/` at the end."""

    owner: str
    what: str
    names: tuple[str, ...]
    treatment: str = "left alone"


FOREIGN = (
    Foreign("faceblurd", "results on their way", (STAGING_PREFIX + "*",)),
    Foreign("rsync", "half-written uploads (`.NAME.EXT.XXXXXX` as well)", (".~tmp~/", ".rsync-partial/")),
    Foreign(
        "FTP, SFTP, WebDAV servers and clients", "half-written uploads",
        (".in.*", "*.filepart", "*.part", "*.partial", "*.lftp-pget-status", ".pureftpd-upload.*", ".davfs.tmp*"),
    ),
    Foreign(
        "browsers", "half-written downloads",
        ("*.crdownload", "*.opdownload", "*.download", "*.download/", ".com.google.Chrome.*", "*.aria2"),
    ),
    Foreign("kernels", "deleted files that are still open", (".nfs*", ".fuse_hidden*", ".smbdelete*")),
    Foreign(
        "Samba", "recycle bins, alternate streams, earlier versions",
        (".recycle/", ".deleted/", ".streams/", "@GMT-*/"),
    ),
    Foreign(
        "macOS, Netatalk", "resource forks, recycle bins, databases",
        ("._*", ".DS_Store", "__MACOSX/", ".AppleDouble/", ".AppleDB/", ".AppleDesktop/", ".TemporaryItems/",
         "Temporary Items/", "Network Trash Folder/", ".Trashes/", ".DocumentRevisions-V100/", ".Spotlight-V100/",
         ".fseventsd/", "**/*.photoslibrary/resources/", "**/*.photoslibrary/private/"),
        "left alone; in place, a fork beside a photo is removed once the photo is done",
    ),
    Foreign(
        "Windows", "recycle bins, previews, restore points",
        ("$RECYCLE.BIN/", "RECYCLER/", "RECYCLED/", "System Volume Information/", "FOUND.???/", "Thumbs.db",
         "ehthumbs*.db", "desktop.ini"),
    ),
    Foreign("Linux desktops", "recycle bins, previews", (".Trash*/", ".thumbnails/", ".sh_thumbnails/", "lost+found/")),
    Foreign("Android", "recycle bins, photos that are not taken yet", (".trashed-*", ".pending-*", "LOST.DIR/")),
    Foreign(
        "Synology", "previews, recycle bins, snapshots, working folders",
        ("@eaDir/", "#recycle/", "#snapshot/", "@sharebin/", "@sharesnap/", "@tmp/", ".SynologyWorkingDirectory/"),
    ),
    Foreign(
        "QNAP, Asustor", "previews, recycle bins, snapshots, working folders",
        ("@Recycle/", "@Recently-Snapshot/", "@Transcode/", ".@*/"),
    ),
    Foreign("WD, Buffalo, Unraid", "previews, recycle bins", (".wdmc/", ".wdcache/", "trashbox/", ".Recycle.Bin/")),
    Foreign(
        "ZFS, Btrfs, NetApp, Isilon, Snapper", "snapshots",
        (".zfs/", ".snapshot/", ".snapshots/", "~snapshot/", "@snapshots/", ".ckpt/", ".timeshift/"),
    ),
    Foreign("Syncthing", "half-written files, earlier versions",
            (".syncthing.*.tmp", "~syncthing~*.tmp", ".stfolder/", ".stversions/")),
    Foreign(
        "Nextcloud, ownCloud", "half-written files, recycle bins, earlier versions, previews",
        (".*.~*", ".sync_*.db*", ".csync_journal.db*", ".owncloudsync.log*", "files_trashbin/", "files_versions/",
         "appdata_*/", "web-file-upload-*/", "thumbnails/"),
    ),
    Foreign(
        "Dropbox, Google Drive, Resilio, MEGA, GoodSync, FreeFileSync, Unison", "half-written files, archives, caches",
        (".dropbox/", ".dropbox.cache/", ".tmp.drivedownload/", ".tmp.driveupload/", ".sync/", "*.!sync", "*.rsl!",
         ".debris/", "_gsdata_/", "*.ffs_tmp", ".unison*", ".unison*/"),
    ),
    Foreign("Immich", "previews, converted videos", ("thumbs/", "encoded-video/")),
    Foreign("PhotoPrism, Piwigo", "previews", (".photoprism/", "**/storage/cache/", "_data/i/", "**/_data/i/")),
    Foreign(
        "digiKam, Picasa, Lightroom, Capture One", "recycle bins, un-blurred originals, previews",
        (".dtrash/", ".picasaoriginals/", "*.lrdata/", "CaptureOne/"),
    ),
    Foreign(
        "programs at large", "temporary files, locks",
        ("*.tmp", "*.temp", "*.swp", "~$*", ".goutputstream-*", "*.sb-????????-??????", "*.sb-????????-??????/"),
    ),
)  # fmt: skip
"""The first that fits counts."""
# rsync writes `.name.jpg.AbCdEf` and renames it; other hidden names with six letters at the end are ordinary files.
RSYNC_TEMPORARY = re.compile(r"\..+\.[a-z0-9]{2,5}\.[a-z0-9]{6}", re.IGNORECASE | re.DOTALL)

_FOLDERS = {one.owner: tuple(name[:-1] for name in one.names if name.endswith("/")) for one in FOREIGN}
_FILES = {one.owner: tuple(name for name in one.names if not name.endswith("/")) for one in FOREIGN}
FOLDERS = tuple(name for names in _FOLDERS.values() for name in names)
FILES = tuple(name for names in _FILES.values() for name in names)


def owner_of_folder(path: str) -> str:
    """Say whose a folder is, and by which name."""
    return _owner(path, _FOLDERS)


def owner_of_file(name: str) -> str:
    """Say whose a file is, and by which name."""
    return _owner(name, _FILES) or "rsync: .NAME.EXT.XXXXXX"


def _owner(path: str, table: dict[str, tuple[str, ...]]) -> str:
    for owner, names in table.items():
        if (name := first_match(path, names)) is not None:
            return f"{owner}: {name}"
    return ""
