"""Whether a tool server, under the uid that is its own, can write what the manifest says it may."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from ringwall.manifest.types import ToolServer

RUN: Final = "; run: "  # parts a problem from the line that mends it
WRITABLE: Final = ": writable"  # ends the name of such a problem; no tool server is called so
_ACL: Final = "system.posix_acl_access"


def unwritable(server: ToolServer, uid: int | None) -> str:
    """What is wrong with a server's writable folders, with the line that mends it; empty: nothing.

    Args:
        server: from the manifest.
        uid: what the server runs as, outside; None: as whoever runs Ringwall.

    """
    if uid is None:
        return ""
    closed = [folder.resolve() for folder in server.writable if not _may_write(folder, uid)]
    if not closed:
        return ""
    names = " ".join(shlex.quote(str(folder)) for folder in closed)
    return f"it runs as uid {uid}, which cannot write {names}{RUN}chown -R {uid}:{uid} {names}"


def _may_write(folder: Path, uid: int) -> bool:
    """By owner, group and mode; a folder with an access list is taken to have the right one.

    One that is not there is another problem, and said when the server is started.
    """
    try:
        found = folder.stat()
        if _ACL in os.listxattr(folder):
            return True
    except OSError:
        return True
    if found.st_uid == uid:
        wanted = stat.S_IWUSR | stat.S_IXUSR
    elif found.st_gid == uid:  # a server's only group has its uid's number
        wanted = stat.S_IWGRP | stat.S_IXGRP
    else:
        wanted = stat.S_IWOTH | stat.S_IXOTH
    return found.st_mode & wanted == wanted
