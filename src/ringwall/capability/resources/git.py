"""Git repositories: ``host/owner/repo``, with ``@ref`` where one branch, tag or commit is meant.

``https://host/owner/repo.git``, ``ssh://git@host/owner/repo`` and ``git@host:owner/repo`` are one repository. Upper
case is folded, because the large hosts ignore it; a host that does not has no such repository, and says so.
"""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.host import canonical_name
from ringwall.capability.resources.text import Canonical, bad, clean, plainly

MAX_TEXT: Final = 1024
MAX_NAME: Final = 100  # of an owner, group or repository; the hosts' own limits are 39 to 255
MAX_DEPTH: Final = 21  # a repository below twenty nested groups, GitLab's limit
MAX_REF: Final = 250
_WHAT: Final = "git"
_NAME: Final = frozenset(string.ascii_lowercase + string.digits + "._-")
_REF: Final = frozenset(string.ascii_letters + string.digits + "._-/+#=")
_SCHEMES: Final = {"https://": "443", "ssh://git@": "22"}
_SAME: Final = {"www.github.com": "github.com", "www.gitlab.com": "gitlab.com",
                "www.bitbucket.org": "bitbucket.org"}
# Short forms that git itself looks up in several places, and names that move.
_SHORT: Final = ("refs/", "heads/", "tags/", "remotes/")
_MOVING: Final = frozenset({"HEAD", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD"})


def canonical(text: str) -> Canonical:
    """Give the one spelling of a repository. Raises BadInput; for ``ext::``, options and local paths too."""
    plainly(clean(text, _WHAT, MAX_TEXT), _WHAT, never="?\\*~ ")
    scheme, host, rest = _split(text)
    path, at, ref = rest.partition("@")
    names = _names(path, text)
    if len(names) < 2:
        raise bad(_WHAT, text, "names no repository of an owner")
    if at:
        _check_ref(ref, text)
    found = f"{host}/{'/'.join(names)}{at}{ref}"
    key = (f"{host}/", *(f"{name}/" for name in names[:-1]), names[-1], *([f"@{ref}"] if at else []))
    return Canonical(found, key, scheme + found if scheme else "")


def _split(text: str) -> tuple[str, str, str]:
    """The scheme as it goes out (empty: none was written), the host, and all behind it."""
    scheme = next((one for one in _SCHEMES if text.lower().startswith(one)), "")
    rest = text[len(scheme):]
    if not scheme and rest.startswith("git@"):  # git@host:owner/repo, as scp writes it
        host, separator, path = rest.removeprefix("git@").partition(":")
        scheme = "ssh://git@"
        if path.partition("/")[0].isdigit():
            raise bad(_WHAT, text, "has a number behind its host, which is a port to some and an owner to others")
    else:
        authority, separator, path = rest.partition("/")
        host, colon, port = authority.partition(":")
        if colon and (not scheme or port != _SCHEMES[scheme]):
            raise bad(_WHAT, text, "is not host/owner/repo, https://, ssh://git@ or git@host:owner/repo")
    if not separator or "." not in host or "@" in host:
        raise bad(_WHAT, text, "has no host; write host/owner/repo, https:// or ssh://git@")
    name = canonical_name(host, _WHAT)
    return scheme, _SAME.get(name, name), path


def _names(path: str, text: str) -> list[str]:
    names = path.lower().removesuffix("/").split("/")
    names[-1] = names[-1].removesuffix(".git")
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not set(name) <= _NAME or name[0] == "-" or name[-1] == ".":
            raise bad(_WHAT, text, "has an owner or repository that is no plain name")
        if name in {".", ".."} or name.endswith(".git"):
            raise bad(_WHAT, text, "has a part that some readers fold away")
    if len(names) > MAX_DEPTH:
        raise bad(_WHAT, text, "is nested too deeply")
    return names


def _check_ref(ref: str, text: str) -> None:
    """git-check-ref-format(1), less what has a second spelling."""
    parts = ref.split("/")
    if not 0 < len(ref) <= MAX_REF or not set(ref) <= _REF or ".." in ref or ref[0] == "-" or ref[-1] == ".":
        raise bad(_WHAT, text, "has no plain branch, tag or commit behind '@'")
    if any(not part or part.startswith(".") or part.endswith(".lock") for part in parts):
        raise bad(_WHAT, text, "has no plain branch, tag or commit behind '@'")
    if ref.startswith(_SHORT) or ref in _MOVING:
        raise bad(_WHAT, text, "has a ref with a second name; write the branch or tag alone")


def pattern(text: str) -> tuple[Canonical, bool]:
    """``host/owner/repo`` is one repository with every ref, with ``@ref`` that ref alone; ``host/owner/`` all of an
    owner. Raises BadInput.
    """
    if not text.endswith("/"):
        found = canonical(text)
        return Canonical(found.id, found.key), not found.key[-1].startswith("@")
    found = canonical(f"{text}x")
    if len(found.key) < 3 or found.key[-1].startswith("@"):
        raise bad(_WHAT, text, "names no owner")
    return Canonical(found.id[:-1], found.key[:-1]), True
