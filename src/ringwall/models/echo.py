"""Whether an upstream gives back a secret that it was sent, in one text or in many pieces. Sans-I/O."""

from __future__ import annotations

from ringwall.call import Json, as_object, texts
from ringwall.tools.echo import MIN_SECRET, Echoes


class Echoed(Exception):
    """The secret is in what came back."""


class Echo:
    """Looks for secrets in what one upstream answers.

    What a text ends with waits while a secret may begin there, so that of one that comes in pieces nothing leaves.

    Args:
        values: what was sent in headers; of each, what follows a scheme such as ``Bearer``.

    """

    def __init__(self, values: list[str]) -> None:
        bare = [value.rpartition(" ")[2] for value in values]
        self._secrets = [value for value in bare if len(value) >= MIN_SECRET]
        self._echoes = Echoes(self._secrets)
        self._held: dict[str, Json] | None = None

    def check(self, value: Json) -> None:
        """Look into every text of a whole value, and into JSON inside of them. Raises Echoed."""
        if any(self._inside(text) for text in texts(value)):
            raise Echoed

    def feed(self, pieces: list[Json]) -> list[Json]:
        """Take pieces of a streamed answer; gives those that can leave, adjacent texts joined. Raises Echoed."""
        out: list[Json] = []
        for piece in pieces:
            fields = as_object(piece) or {}
            if "text" not in fields:
                self.check(piece)
                self._flush(out)
                out.append(piece)
                continue
            held = self._held
            if held is not None and (held["part"], held["kind"]) == (fields["part"], fields["kind"]):
                self._held = {**held, "text": held["text"] + fields["text"]}
            else:
                self._flush(out)
                self._held = dict(fields)
        self._settle(out)
        return out

    def end(self) -> list[Json]:
        """What still waits, now that the answer is over. Raises Echoed."""
        out: list[Json] = []
        self._flush(out)
        return out

    def _flush(self, out: list[Json]) -> None:
        """Its part is over: what waits goes out, unless it is most of a secret: another part may have the rest."""
        held, self._held = self._held, None
        if held is None:
            return
        text: str = held["text"]
        if self._inside(text) or any(2 * self._begun(text, secret) > len(secret) for secret in self._secrets):
            raise Echoed
        if text:
            out.append(held)

    def _settle(self, out: list[Json]) -> None:
        held = self._held
        if held is None:
            return
        text: str = held["text"]
        if self._inside(text):
            raise Echoed
        keep = max((self._begun(text, secret) for secret in self._secrets), default=0)
        if len(text) > keep:
            out.append({**held, "text": text[: len(text) - keep]})
        self._held = {**held, "text": text[len(text) - keep :]}

    def _inside(self, text: str) -> bool:
        return self._echoes.whole(text.encode(errors="surrogatepass"))

    @staticmethod
    def _begun(text: str, secret: str) -> int:
        """How many characters at the end of a text are the beginning of a secret."""
        tail = text[-(len(secret) - 1) :]
        at = tail.find(secret[0])
        while at >= 0:
            if secret.startswith(tail[at:]):
                return len(tail) - at
            at = tail.find(secret[0], at + 1)
        return 0
