"""Which source of root keys ``[vault]`` asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ringwall.keys.age import AgeSeal
from ringwall.keys.file_source import PlainSeal
from ringwall.keys.interface import RootSource, Transit
from ringwall.keys.keyring_ import KeyringSeal
from ringwall.keys.passphrase import PassphraseSeal
from ringwall.keys.pkcs11 import Pkcs11Seal
from ringwall.keys.sealed import Seal, SealedSource, unreachable
from ringwall.keys.shamir import ShamirSource
from ringwall.keys.tpm2 import Tpm2Seal
from ringwall.keys.transit import TransitSeal
from ringwall.manifest.types import VaultSettings

T = TypeVar("T")


def source(settings: VaultSettings, folder: Path, transit: Transit | None) -> RootSource:
    """The source that the settings name. Nothing is opened or asked yet.

    Args:
        settings: ``[vault]``.
        folder: where its files ``root-<generation>.<kind>`` are, of this user.
        transit: reaches the transit engine, where ``root`` is "transit".

    Raises:
        Unavailable: ``keys_unavailable``: the settings lack what this source needs.

    """
    match settings.root:
        case "shamir":
            return ShamirSource(folder, settings.shares, settings.threshold)
        case "file":
            seal: Seal = PlainSeal()
        case "passphrase":
            seal = PassphraseSeal()
        case "age":
            seal = AgeSeal(_given(settings.identity, "identity"))
        case "keyring":
            seal = KeyringSeal()
        case "tpm2":
            seal = Tpm2Seal(settings.tcti, settings.pcrs)
        case "pkcs11":
            seal = Pkcs11Seal(module=_given(settings.module, "module"), token=_given(settings.token, "token"),
                              pin_file=_given(settings.pin_file, "pin_file"), notes=folder)
        case "transit":
            seal = TransitSeal(_given(transit, "transit"))
    return SealedSource(folder, seal)


def _given(value: T | None, key: str) -> T:
    if not value:
        raise unreachable(f"[vault] names no {key}", f"set {key} in [vault]: docs/root-keys.md")
    return value
