"""How large a simulated stream is, and what everyday life in it is like."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynmm_core.times import HOUR_MS

FIRST_HOUR_MS = 1_704_067_200_000  # Monday, 2024-01-01 00:00 UTC
HISTORY_HOURS = 168
HISTORY_SHARE = 0.7

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


class StreamSettings(BaseModel):
    """Size and seed of a stream; the last 30 % of its events fill ``online_hours`` one-hour windows.

    topic_stays: how often the next event of a session keeps the topic of the one before; successor: how often it is the item
    that follows that one; exposure: share of events taken from what is shown to everybody, exposed_items of all items;
    popularity_exponent: of Zipf's law inside a topic. daily_cycle and weekly_cycle: how far the rate of sessions swings;
    burstiness: variance of each minute's rate over its square. newcomers: share of the users that come online alone.
    arrival_delay_ms: mean time between an event and its arrival. segments: users are in one each, by their first topic.
    missing_text, missing_image, missing_audio: share of the items without that modality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    events: int = Field(160_000, ge=1_000, le=200_000_000)
    users: int = Field(10_000, ge=10)
    items: int = Field(3_000, ge=60)
    online_hours: int = Field(72, ge=6)
    topics: int = Field(30, ge=4)
    segments: int = Field(6, ge=1)
    topic_stays: Share = 0.85
    successor: Rate = 0.3
    exposure: Rate = 0.05
    exposed_items: Share = 0.02
    popularity_exponent: float = Field(1.0, ge=0.0, le=4.0)
    daily_cycle: Rate = 0.6
    weekly_cycle: Rate = 0.3
    burstiness: float = Field(0.5, ge=0.0, le=100.0)
    newcomers: Rate = 0.15
    arrival_delay_ms: int = Field(2_000, ge=0)
    missing_text: Share = 0.05
    missing_image: Share = 0.2
    missing_audio: Share = 0.5

    @model_validator(mode="after")
    def _enough_items(self) -> "StreamSettings":
        if self.items < 2 * self.topics:
            raise ValueError(f"items: {self.items} must be at least twice the topics, {self.topics}")
        if self.segments > self.topics:
            raise ValueError(f"segments: {self.segments} must be at most the topics, {self.topics}")
        return self

    @property
    def history_events(self) -> int:
        """Events before the cut."""
        return int(HISTORY_SHARE * self.events)

    @property
    def hours(self) -> int:
        """Hours of the whole stream."""
        return HISTORY_HOURS + self.online_hours

    @property
    def end_ms(self) -> int:
        """The moment behind the last hour."""
        return FIRST_HOUR_MS + self.hours * HOUR_MS


def cut_time_ms() -> int:
    """Return the moment that parts history from the online part."""
    return FIRST_HOUR_MS + HISTORY_HOURS * HOUR_MS
