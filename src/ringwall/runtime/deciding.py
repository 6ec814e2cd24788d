"""Which policy decides, as the core runs it: loaded at start, watched, loaded anew when an operator asks."""

from __future__ import annotations

import msgspec

from ringwall.call import Call, Json, subject_name
from ringwall.capability.resources import parse_pattern
from ringwall.clock import Clock
from ringwall.errors import ManifestError, PolicyError
from ringwall.manifest.place import check_place, writable_folders
from ringwall.manifest.types import Manifest
from ringwall.policy import choose
from ringwall.policy.bundle.reading import Bundle, load
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.interface import PolicyBackend
from ringwall.policy.reload import Notes, Reloader
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.runs import Tasks


class _ReloadOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``policy.reload`` takes: nothing."""


class Deciding:
    """The policy of one core.

    Args:
        manifest: names the bundle, its keys and the backend, and gives the base data.
        clock: for backends that wait.
        journal: where changes of the policy are written down.

    Raises:
        PolicyError: the bundle is bad. The core does not start.

    """

    def __init__(self, manifest: Manifest, clock: Clock, journal: Notes) -> None:
        self._manifest = manifest
        self._clock = clock
        self._data = policy_data(manifest, parse_pattern)
        self._reloader = Reloader(manifest.policy.bundle, self._load, journal)

    @property
    def backend(self) -> PolicyBackend:
        """What the policy ring asks."""
        return self._reloader.backend

    def start(self, tasks: Tasks) -> None:
        """Watch the bundle from now on."""
        tasks.start(self._reloader.watch())

    def acts(self) -> dict[str, Act]:
        """``policy.reload``."""
        return {"policy.reload": self._reload}

    async def _reload(self, call: Call) -> Json:
        arguments(call, _ReloadOrder)
        return await self._reloader.reload(subject_name(call.subject))

    def _load(self) -> PolicyBackend:
        bundle = read_bundle(self._manifest)
        loaded = EmbeddedPolicy.default(self._data) if bundle is None else bundle.policy(self._data)
        return choose.backend(self._manifest.policy, loaded, self._data, self._clock)


def read_bundle(manifest: Manifest) -> Bundle | None:
    """The bundle that a manifest names, checked, and its place with it; None: it names none. Raises PolicyError."""
    settings = manifest.policy
    if settings.bundle is None:
        return None
    bundle = load(settings.bundle, keys=settings.keys, scope=settings.scope)
    try:
        for path in (settings.bundle, *settings.keys):
            check_place(path, writable_folders(manifest))
    except ManifestError as error:
        cause = error.problems[0].replace("\n ", "")
        raise PolicyError(cause, code="bundle_exposed", remedy=error.remedy) from error
    return bundle
