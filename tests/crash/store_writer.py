"""Commits versions without end, state file first, and says each number on stdout; meant to be killed."""

import sys
from pathlib import Path

import numpy as np

from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles, Version

HOUR_MS = 3_600_000
IDS = np.array([f"i{k}" for k in range(200)])


def draft(states: StateFiles, number: int) -> Draft:
    latents = np.random.default_rng(number).normal(size=(len(IDS), 16)).astype(np.float32)
    state = states.put({"weights": latents.tobytes(), "slide": str(number).encode()})
    rows = LatentRows(np.array(["item"] * len(IDS)), IDS, latents)
    return Draft("r", (number + 1) * HOUR_MS, "config", "base", state, rows, number % 2 == 0, {"n": number})


def commit_next(store: LatentStore, states: StateFiles, head: Version | None) -> Version:
    number = 0 if head is None else head.number + 1
    return store.commit(draft(states, number), head)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    store, states = LatentStore.create_or_open(folder, 16), StateFiles(folder / "state")
    print("ready", flush=True)
    head = store.head()
    while head is None or head.number < 500:
        head = commit_next(store, states, head)
        print(head.number, flush=True)
