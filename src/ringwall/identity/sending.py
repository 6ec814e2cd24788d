"""Whether bytes come from the process that opened their connection: one pidfd compared with another."""

from __future__ import annotations

from ringwall.call import Denied
from ringwall.identity import pidfd

_REMEDY = "let each process open a connection of its own"


def compare(peer: int, key: tuple[int, int] | None, process: int | None) -> Denied | None:
    """Why bytes of this sender do not count; None: the peer itself has sent them.

    Args:
        peer: pidfd of the process that opened the connection.
        key: of that pidfd, where inodes tell processes apart; None: numbers do.
        process: pidfd of the sender, as the kernel put it beside the bytes; None if it named nobody.

    """
    if process is None:
        return Denied(
            code="sender_unknown",
            reason="the kernel does not say which process wrote to this connection, or descriptors came along",
            remedy="send bytes only, over a connection of this process's own",
        )
    try:
        if key is not None:
            same = pidfd.key(process) == key
        else:
            sent = pidfd.number(process)
            # Numbers are compared of living processes only: a dead one's may be somebody else's by now.
            same = sent > 0 and sent == pidfd.number(peer) and pidfd.alive(process, peer)
    except (OSError, ValueError) as fault:
        reason = "the process that wrote to this connection cannot be told"
        return Denied(code="sender_unknown", reason=reason, remedy=_REMEDY, detail={"why": str(fault)})
    return None if same else foreign()


def foreign() -> Denied:
    """Somebody else has sent."""
    return Denied(
        code="sender_foreign",
        reason="another process than the one that opened this connection has written to it",
        remedy=_REMEDY,
    )
