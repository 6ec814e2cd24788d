"""Who ends the TLS of peers, as the manifest says it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.test_peers import MANIFEST

from ringwall.errors import ManifestError
from ringwall.manifest.load import parse

PLACE = Path("/etc/ringwall/ringwall.toml")


def test_the_sidecars_do_unless_it_says_envoy() -> None:
    assert parse(MANIFEST.replace('terminator = "envoy"', ""), PLACE).a2a.terminator == "sidecar"
    settings = parse(MANIFEST.replace('"envoy"', '"envoy"\nenvoy_uid = 1337\nenvoy_folder = "/run/x"'), PLACE).a2a
    assert (settings.terminator, settings.envoy_uid, settings.envoy_folder) == ("envoy", 1337, Path("/run/x"))


@pytest.mark.parametrize(("before", "after", "problem"), [
    ('terminator = "envoy"', "envoy_uid = 1", "a2a.envoy_uid"),
    ('terminator = "envoy"', 'envoy_folder = "/run/x"', "a2a.envoy_folder"),
    ('"envoy"', '"nginx"', "a2a.terminator"),
    ('"envoy"', '"envoy"\nenvoy_uid = -1', "a2a.envoy_uid"),
    ('"envoy"', ('"envoy"\nenvoy_folder = "/srv/data/sockets"\n[tools.files]\nbuiltin = "files"\n'
                 'writable = ["/srv/data"]'), "a2a.envoy_folder"),
])
def test_settings_of_an_envoy_that_is_none_or_whose_sockets_others_see_are_refused(
    before: str, after: str, problem: str
) -> None:
    with pytest.raises(ManifestError) as refused:
        parse(MANIFEST.replace(before, after), PLACE)
    assert problem in "\n".join(refused.value.problems)
