"""Randomness from counters: a seed is a pure function of what it is for."""

from __future__ import annotations

from hashlib import sha256


def seed_of(*counters: int | str) -> int:
    """A 32-bit seed for the thing that the counters name.

    Independent of the process, the platform and ``PYTHONHASHSEED``.
    """
    return int.from_bytes(sha256(repr(counters).encode()).digest()[:4], "little")
