"""Bytes that know their own digest."""

import hashlib
from functools import cached_property


class Sealed(bytes):
    """Bytes whose SHA-256 is taken once, for a part that many states have in common."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal."""
        return hashlib.sha256(self).hexdigest()
