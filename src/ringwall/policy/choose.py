"""Which backend decides, by the manifest alone."""

from __future__ import annotations

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.manifest.types import PolicySettings
from ringwall.policy.cache import AllowCache
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.interface import PolicyBackend
from ringwall.policy.opa.address import Address
from ringwall.policy.opa.backend import OpaRest


def backend(settings: PolicySettings, loaded: EmbeddedPolicy, data: Json, clock: Clock) -> PolicyBackend:
    """What decides with a loaded policy: itself, or an OPA that serves the same bundle.

    Args:
        settings: ``[policy]``. With ``backend = "opa"`` and a bundle, OPA must serve the bundle's revision; without
            a bundle, the revision that OPA serves is taken.
        loaded: the policy that this core loaded.
        data: the base data document.
        clock: for what waits.

    Raises:
        PolicyError: ``bad_opa_address``.

    """
    known = settings.backend == "embedded" or settings.bundle is not None  # this very policy decides, or none
    decides: PolicyBackend = loaded
    if settings.backend == "opa":
        decides = OpaRest(Address.parse(settings.opa), data, clock, revision=loaded.revision if known else "")
    if not settings.cache:
        return decides
    timeless = known and not loaded.sees_time()
    return AllowCache(decides, lambda revision: timeless and revision == loaded.revision)
