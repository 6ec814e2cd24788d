"""Where the test peers are, and whom to trust there."""

from __future__ import annotations

import ssl

from tests.identity.endpoint.web import web_ca

CA = ssl.DER_cert_to_PEM_cert(web_ca().certificate)
