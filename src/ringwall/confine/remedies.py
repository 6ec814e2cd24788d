"""What to do when the platform refuses a step: one line an operator can act on, by step and errno."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_UBUNTU: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_DEBIAN: Final = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MAXIMUM: Final = Path("/proc/sys/user/max_user_namespaces")

_CONTAINER: Final = (
    "a container's own filter forbids it: start the container with --security-opt seccomp=unconfined"
    " --security-opt systempaths=unconfined"
)
_LANDLOCK: Final = (
    "boot with lsm=landlock,... on the kernel's command line (CONFIG_SECURITY_LANDLOCK, Linux >= 5.13)"
)


def _value(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def user_namespaces() -> str:
    """Why this machine refuses user namespaces, as far as its own settings tell."""
    if _value(_UBUNTU) == "1":
        return "allow userns in an AppArmor profile, or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if _value(_DEBIAN) == "0":
        return "run: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value(_MAXIMUM) == "0":
        return "run: sysctl -w user.max_user_namespaces=10000"
    return _CONTAINER


_PLACE: Final = "what is bound must exist, and be readable by the user who runs ringwall"
_START: Final = "the program and its interpreter must lie in a bound folder and be executable"
_ANY: Final = ""  # whatever the errno
_TABLE: Final[Mapping[tuple[str, str], str]] = {
    ("landlock", "ENOSYS"): _LANDLOCK,
    ("landlock", "EOPNOTSUPP"): _LANDLOCK,
    ("landlock_tcp", _ANY): "needs Linux 6.7 or newer",
    ("landlock_scopes", _ANY): "needs Linux 6.12 or newer",
    ("seccomp", _ANY): "the kernel must have CONFIG_SECCOMP_FILTER",
    ("view", "ELOOP"): "give the folder's real path: links are not followed when a view is built",
    ("view", "EROFS"): "a bind inside a read-only bind needs its place to exist there",
    ("view", "ENOENT"): _PLACE,
    ("view", "EACCES"): _PLACE,
    ("view", "ENOTDIR"): _PLACE,
    ("view", "ENOSYS"): "Linux 5.12 or newer is needed",
    ("loopback", "EMFILE"): "raise the limit on open files (ulimit -n) of ringwall up",
    ("loopback", "EADDRINUSE"): "another process of this machine listens on the port: choose another",
    ("program", _ANY): _START,
    ("exec", _ANY): _START,
    ("cwd", _ANY): "the working folder must be part of the view",
}
_NEED_USER_NAMESPACES: Final = frozenset({"clone3", "unshare", "uid_map", "gid_map", "setgroups", "hostname"})


def remedy(step: str, code: str) -> str:
    """The remedy for a step of the set-up that failed; empty where only the message itself helps."""
    if step in _NEED_USER_NAMESPACES or (step, code) == ("view", "EPERM"):
        return user_namespaces()
    return _TABLE.get((step, code), "") or _TABLE.get((step, _ANY), "")
