"""Mail of an office: what it sends lands in a file, one JSON line each."""

import json
from pathlib import Path

OUTBOX = Path(__file__).parent.parent / "outbox" / "sent.jsonl"


def send(to: str, subject: str, body: str) -> str:
    """Send a mail."""
    with OUTBOX.open("a", encoding="utf-8") as outbox:
        outbox.write(json.dumps({"to": to, "subject": subject, "body": body}) + "\n")
    return f"sent to {to}"
