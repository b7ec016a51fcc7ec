"""Which partition a key belongs to: murmur2, as the default partitioner of Kafka's Java and Python clients.

Clients built on librdkafka hash otherwise unless told `partitioner=murmur2_random`; what they sit in the
wrong partition would escape the deduplication of its city, and is set aside.
"""

from __future__ import annotations

from functools import lru_cache

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit hash that Kafka calls murmur2, unsigned."""
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ (k >> 24)) * _M & _MASK)
    if whole != len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=4096)
def expected_partition(key: bytes, partitions: int) -> int:
    """The partition that a record with this key belongs to, of `partitions` (at least 1)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
