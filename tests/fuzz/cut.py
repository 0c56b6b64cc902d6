"""Numbers and texts cut from some bytes, so that what a fuzzer changes in them changes what is made of them."""


class Cut:
    """Cuts from the front; the end of the bytes gives zeros and empty texts.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, below: int) -> int:
        """A number from 0 up to one less than `below` (at most 256), from one byte."""
        byte = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return byte % below

    def text(self, most: int) -> str:
        """A text: a byte says how many of the next bytes it is made of, at most so many."""
        length = self.number(most + 1)
        taken = self._data[self._at : self._at + length]
        self._at += length
        return _decoded(taken)

    def bytes(self) -> bytes:
        """All the bytes that are left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def rest(self) -> str:
        """All that is left, as a text."""
        return _decoded(self.bytes())


def _decoded(data: bytes) -> str:
    """UTF-8, lone surrogates included; what is neither becomes U+FFFD."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")
