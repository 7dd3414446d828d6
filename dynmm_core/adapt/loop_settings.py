"""What a run chooses about its loop."""

from dataclasses import dataclass
from typing import Literal

History = Literal["event", "version"]
HEAD_MODEL = "adapted"
DAY_OLD_MODEL = "adapted_day_old"


@dataclass(frozen=True)
class LoopSettings:
    """What a run chooses about ranking; see the replay command for each option's meaning.

    base_users, base_items: users and items with an event before the cut; rank_from_ms, rank_to_ms bound the events
    that are ranked (None: no bound); base_newest_ms: newest event inside the base; learn_head: False leaves the head as it is;
    fold_in: give items that the base does not know a base latent from their events.
    """

    models: tuple[str, ...]
    history: History
    publish_delay_ms: int
    rank_from_ms: int | None
    rank_to_ms: int | None
    keep_consumed: bool
    summaries: bool
    base_users: int
    base_items: int
    base_newest_ms: int
    learn_head: bool = True
    fold_in: bool = False
