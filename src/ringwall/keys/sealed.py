"""Sources that keep the root encrypted in a file: what is common to them. Each way to encrypt is a ``Seal``."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.blobs import Blobs, pack, unpack
from ringwall.keys.derived import DerivedRootKeys
from ringwall.keys.interface import KEY_BYTES, Asks, RootKeys


class Seal(Protocol):
    """One way to encrypt a few bytes so that only its holder can decrypt them."""

    @property
    def kind(self) -> str:
        """The name in ``[vault] root``, and of the files."""
        ...

    @property
    def asks(self) -> Asks:
        """What an operator must bring."""
        ...

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """Encrypt. Raises RingwallError as ``RootSource.create`` does."""
        ...

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """Decrypt. Raises RingwallError as ``RootSource.open`` does."""
        ...

    def forget(self, blob: bytes) -> None:
        """Destroy what is kept elsewhere for this blob; none is no fault. Raises Unavailable."""
        ...


class SealedSource:
    """A ``RootSource`` over a :class:`Seal` and a folder of files."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        self._seal = seal
        self._blobs = Blobs(folder, seal.kind)

    @property
    def kind(self) -> str:
        """See ``RootSource``."""
        return self._seal.kind

    @property
    def asks(self) -> Asks:
        """See ``RootSource``."""
        return self._seal.asks

    def create(self, generation: int, answers: Sequence[bytes]) -> tuple[RootKeys, tuple[str, ...]]:
        """See ``RootSource``. What was sealed is unsealed once before it counts."""
        self._blobs.free(generation)
        if self.asks == "nothing":
            _none_wanted(answers)
        elif not answers:
            raise BadInput(f"a new root key of the kind {self.kind} needs a {self.asks}", code="bad_answers",
                           remedy=f"bring the {self.asks} that shall open it")
        root = secrets.token_bytes(KEY_BYTES)
        plain = pack(generation, root)
        blob = self._seal.seal(plain, answers)
        try:
            if not hmac.compare_digest(self._seal.unseal(blob, answers), plain):
                raise unreachable(f"{self.kind} gave back other bytes than it was given",
                                  "nothing was changed; choose another [vault] root")
            self._blobs.write(generation, blob)
        except RingwallError:
            with suppress(RingwallError):  # what is left there opens nothing
                self._seal.forget(blob)
            raise
        return DerivedRootKeys(root), ()

    def open(self, generation: int, answers: Sequence[bytes]) -> RootKeys:
        """See ``RootSource``."""
        blob = self._blobs.read(generation)
        if self.asks == "nothing":
            _none_wanted(answers)
        elif not answers:
            raise closed(f"the vault is sealed: its root key opens with a {self.asks}")
        return DerivedRootKeys(unpack(generation, self._seal.unseal(blob, answers)))

    def drop(self, generation: int) -> None:
        """See ``RootSource``."""
        try:
            blob = self._blobs.read(generation)
        except (BadInput, Refused):
            blob = b""  # damaged, or another generation's: it must not name what is destroyed elsewhere
        except Unavailable as fault:
            if fault.code != "root_key_missing":
                raise
            blob = b""
        if blob:
            self._seal.forget(blob)
        self._blobs.remove(generation)


def closed(cause: str) -> Unavailable:
    """``root_key_sealed``: somebody must bring what opens it."""
    return Unavailable(cause, code="root_key_sealed", remedy="ringwall vault unseal")


def unreachable(cause: str, remedy: str) -> Unavailable:
    """``keys_unavailable``: what holds the key does not answer, or not as it must."""
    return Unavailable(cause, code="keys_unavailable", remedy=remedy)


def optional(module: str, extra: str) -> Any:
    """An optional library.

    Raises:
        Unavailable: ``keys_backend_missing``.

    """
    try:
        return import_module(module)
    except ImportError:
        raise missing(module, extra) from None


def missing(module: str, extra: str) -> Unavailable:
    """``keys_backend_missing``: an optional library is not installed."""
    return Unavailable(f"the library {module}, which keeps the vault's root key, is not installed",
                       code="keys_backend_missing", remedy=f"pip install 'ringwall[{extra}]'")


def _none_wanted(answers: Sequence[bytes]) -> None:
    if answers:
        raise BadInput("this root key opens by itself and wants no passphrase or share", code="bad_answers",
                       remedy="leave it out")
