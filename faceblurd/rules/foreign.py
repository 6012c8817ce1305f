"""Files and folders that servers and programs keep among photos: the table that code and docs share. Pure.

Half-written uploads, previews, recycle bins, snapshots and caches: none is anybody's finished photo, and most show
faces. docs/config.md shows the table (tests/test_docs.py compares). Conflict copies are *not* in it: they are photos
that nobody blurred. Sources: the tools' documentation, and what they were seen to write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.rules.globs import first_match

if TYPE_CHECKING:
    from collections.abc import Iterable

STAGING_PREFIX = ".faceblurd-"


@dataclass(frozen=True, slots=True)
class Foreign:
    """What one server or program keeps: globs, those of folders with a `/` at the end.

    `in_place`: there they are photos like any other, since whoever looks at the folder sees them; else a mirror's
    alone. What is half-written, a program's own state or a snapshot is never touched.
    """

    owner: str
    what: str
    names: tuple[str, ...]
    in_place: bool = False

    @property
    def treatment(self) -> str:
        """Say what is done with it."""
        return "left alone in a mirror, blurred in place" if self.in_place else "left alone"


FOREIGN = (
    Foreign("faceblurd", "results on their way", (STAGING_PREFIX + "*",)),
    Foreign("rsync", "half-written uploads (`.NAME.EXT.XXXXXX` as well)", (".~tmp~/", ".rsync-partial/")),
    Foreign(
        "FTP, SFTP, WebDAV servers and clients", "half-written uploads",
        (".in.*", "*.filepart", "*.part", "*.partial", "*.lftp-pget-status", ".pureftpd-upload.*", ".sftpgo-upload.*",
         ".davfs.tmp*", ".DAV/"),
    ),
    Foreign(
        "browsers, download managers", "half-written downloads",
        ("*.crdownload", "*.opdownload", "*.fdmdownload", "*.download", "*.download/", ".com.google.Chrome.*",
         "*.aria2", "*.ydpart", "*.dtapart", "*.!ut", "*.!qB", "*.bc!"),
    ),
    Foreign(
        "S3, Azure, Google Cloud clients", "half-written downloads (`NAME.EXT.` and eight hexadecimal digits as well)",
        ("*_.gstmp", ".azDownload-*"),
    ),
    Foreign("kernels", "deleted files that are still open", (".nfs*", ".fuse_hidden*", ".smbdelete*")),
    Foreign("Samba", "alternate streams, earlier versions", (".streams/", "@GMT-*/")),
    Foreign("Samba", "recycle bins", (".recycle/", ".deleted/"), in_place=True),
    Foreign(
        "macOS, Netatalk", "resource forks (in place, a photo's goes once that is done), databases, bins",
        ("._*", ".DS_Store", "__MACOSX/", ".AppleDouble/", ".AppleDB/", ".AppleDesktop/", ".TemporaryItems/",
         "Temporary Items/", "Network Trash Folder/", ".Trashes/", ".DocumentRevisions-V100/", ".Spotlight-V100/",
         ".fseventsd/", "**/*.photoslibrary/resources/", "**/*.photoslibrary/private/"),
    ),
    Foreign(
        "Windows", "recycle bins, databases of previews, restore points",
        ("$RECYCLE.BIN/", "RECYCLER/", "RECYCLED/", "System Volume Information/", "FOUND.???/", "Thumbs.db",
         "ehthumbs*.db", "desktop.ini"),
    ),
    Foreign("Linux desktops", "recycle bins, rescued files", (".Trash*/", "lost+found/")),
    Foreign("Linux desktops", "previews", (".thumbnails/", ".sh_thumbnails/"), in_place=True),
    Foreign("Android", "photos that are not taken yet", (".pending-*",)),
    Foreign("Android", "recycle bins", (".trashed-*", "LOST.DIR/"), in_place=True),
    Foreign(
        "Synology", "previews, recycle bins, snapshots, working folders",
        ("@eaDir/", "#recycle/", "#snapshot/", "@sharebin/", "@sharesnap/", "@tmp/", "@Syno*/",
         ".SynologyWorkingDirectory/"),
    ),
    Foreign("QNAP, Asustor", "recycle bins, previews", ("@Recycle/", ".@__thumb/"), in_place=True),
    Foreign("QNAP, Asustor", "snapshots, working folders", ("@Recently-Snapshot/", "@Transcode/", ".@[!_]*/")),
    Foreign(
        "WD, Buffalo, Unraid, ReadyNAS, Thecus, Twonky", "recycle bins, previews",
        (".wdmc/", ".wdcache/", "trashbox/", ".Recycle.Bin/", "Recycle Bin/", "_NAS_Recycle_*/", "twonkymedia/"),
        in_place=True,
    ),
    Foreign(
        "ZFS, Btrfs, NetApp, Isilon, Ceph, Gluster, Snapper, Time Machine", "snapshots, earlier versions",
        (".zfs/", ".snap/", ".snaps/", ".snapshot/", ".snapshots/", "~snapshot/", "@snapshots/", ".ckpt/",
         ".timeshift/", ".glusterfs/", "Backups.backupdb/"),
    ),
    Foreign("Syncthing", "half-written files, earlier versions",
            (".syncthing.*.tmp", "~syncthing~*.tmp", ".stfolder/", ".stversions/")),
    Foreign(
        "Nextcloud, ownCloud", "half-written files, recycle bins, earlier versions, their own data",
        (".*.~*", ".sync_*.db*", ".csync_journal.db*", ".owncloudsync.log*", "files_trashbin/", "files_versions/",
         "appdata_*/", "web-file-upload-*/", "**/__groupfolders/trash/", "**/__groupfolders/versions/"),
    ),
    Foreign(
        "Dropbox, Google Drive, Resilio, MEGA, GoodSync, FreeFileSync, SyncBack, Allway Sync, Unison",
        "half-written files, archives, caches",
        (".dropbox/", ".dropbox.cache/", ".tmp.drivedownload/", ".tmp.driveupload/", ".sync/", "*.!sync", "*.rsl!",
         ".debris/", ".getxfer.*", ".megatmp.*", "_gsdata_/", "*.ffs_tmp", "*.ffs_tmp/", "$SBV$/", "_SYNCAPP/",
         ".unison*", ".unison*/"),
    ),
    Foreign(
        "Immich, ownCloud, PhotoPrism, Piwigo, Gallery, Lychee, LibrePhotos, Photoview, MediaWiki", "previews",
        ("thumb/", "thumbs/", "thumbnails/", "thumbnails_*/", "*_thumbnails/", "media_cache/", ".photoprism/",
         "**/storage/cache/", "_data/i/", "**/_data/i/", "**/var/resizes/"),
        in_place=True,
    ),
    Foreign(
        "Immich, Lightroom, Capture One", "converted videos, caches", ("encoded-video/", "*.lrdata/", "CaptureOne/")
    ),
    Foreign(
        "Aperture, iPhoto, Sony", "previews", ("**/*.aplibrary/Previews/", "**/*.*photolibrary/Previews/", "THMBNL/"),
        in_place=True,
    ),
    Foreign("digiKam, Picasa", "recycle bins, un-blurred originals", (".dtrash/", ".picasaoriginals/"), in_place=True),
    Foreign("servers at large", "snapshots, earlier versions", ("[.@#$~_]*snapshot*/", "[.@#$~_]*versions/")),
    Foreign(
        "servers at large", "recycle bins, previews",
        ("[.@#$~_]*recycle*/", "*recycle bin/", "[.@#$~_]*trash*/", "trash/", "[.@#$~_]*thumb*/"), in_place=True,
    ),
    Foreign(
        "programs at large", "half-written and temporary files, locks",
        ("*.tmp", "*.temp", "*.tmp-*", "*.__temp", "__temp__*", "*.$$$", "*.swp", "~$*", "*.upload",
         "*.uploading", "*.downloading", "*.incomplete", "*.unfinished", ".xdp-*", ".goutputstream-*",
         "*.sb-????????-??????", "*.sb-????????-??????/"),
    ),
)  # fmt: skip
"""The first that fits counts."""
# rsync writes `.name.jpg.AbCdEf` and renames it; other hidden names with six letters at the end are ordinary files. So
# do S3's clients (`name.jpg.6eF5b5dA`); eight digits alone are somebody's date.
RANDOM_ENDS = (
    ("rsync: .NAME.EXT.XXXXXX", re.compile(r"\..+\.[a-z0-9]{2,5}\.[a-z0-9]{6}", re.IGNORECASE | re.DOTALL)),
    ("S3: NAME.EXT.XXXXXXXX", re.compile(r".+\.[a-z0-9]{2,5}\.(?!\d{8})[a-f0-9]{8}", re.IGNORECASE | re.DOTALL)),
)


def _names(rows: Iterable[Foreign], *, folders: bool) -> tuple[str, ...]:
    return tuple(name.rstrip("/") for row in rows for name in row.names if name.endswith("/") is folders)


FOLDERS, FILES = (_names(FOREIGN, folders=folders) for folders in (True, False))
_IN_PLACE = tuple(row for row in FOREIGN if not row.in_place)
FOLDERS_IN_PLACE, FILES_IN_PLACE = (_names(_IN_PLACE, folders=folders) for folders in (True, False))


def owner_of(path: str, *, is_folder: bool) -> str:
    """Say whose a file or folder is, and by which name; empty for nobody's."""
    for row in FOREIGN:
        if (name := first_match(path, _names((row,), folders=is_folder))) is not None:
            return f"{row.owner}: {name}"
    return "" if is_folder else next((owner for owner, name in RANDOM_ENDS if name.fullmatch(path)), "")


def staging_name(token: str) -> str:
    """Name a staging file: hidden, ignored by the filter, and never longer than any file system allows."""
    return f"{STAGING_PREFIX}{token}.tmp"


def split(path: str) -> tuple[str, str]:
    """Split a relative POSIX path into its directory ("" for none) and its name."""
    directory, _, name = path.rpartition("/")
    return directory, name
