"""How a process that reads with many threads keeps its memory small."""

import ctypes
import gc
import platform

import pyarrow as pa

_MOST_ARENAS = -8  # M_ARENA_MAX of glibc's malloc.h


def spare_memory() -> None:
    """Look for cycles seldom, and let threads share the allocator's pools; call it before the threads are there.

    Messages come by the ten thousand and hold no cycles, so that looking through them again and again finds nothing. Every
    consumer brings threads; with a pool for each of them, what one has freed is of no use to the others.
    """
    gc.set_threshold(100_000, 10, 10)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_MOST_ARENAS, 2)


def give_back() -> None:
    """Give what was freed back to the system; what is torn into holes stays with the process otherwise."""
    pa.default_memory_pool().release_unused()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
