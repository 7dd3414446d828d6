"""A recorded live run as the model of a replay: its settings, and whether the replay has made its versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from dynmm_core.store.latents import LatentStore
from flows.live.record import LiveRecord, read_record
from replay.config import StreamNames

_ELSE = "leave --like out and give the options themselves"
# The learner's settings that an option of replay can say as they are.
_SAME = (
    "seed", "models", "history", "store_every", "keep_consumed", "device", "threads", "adapter_lr", "summaries", "online",
    "detectors",
)  # fmt: skip


@dataclass(frozen=True)
class Likeness:
    """How a replay compares with the live run: slides that both have, how many versions are equal, the first that is not."""

    run: str
    slides: int
    equal: int
    first_difference_ms: int | None


@dataclass(frozen=True)
class RecordedRun:
    """A live run that can be replayed: ``folder`` is its run folder."""

    folder: Path
    record: LiveRecord

    @classmethod
    def open(cls, folder: Path) -> "RecordedRun":
        """Read what the run was begun with.

        Raises:
            UserError: no live run, or one whose versions no log alone can give again.
        """
        record = read_record(folder)
        store = LatentStore.open(folder / "store")
        if store.rollbacks():
            raise UserError(f"--like: {folder} was rolled back, so that no one pass over a log gives its versions; {_ELSE}")
        versions = store.active()
        cut = next((version for version in versions if version.lineage.get("idle_cuts")), None)
        if cut is not None:
            raise UserError(
                f"--like: {folder} declared a partition idle before slide {cut.slide_end_ms}; where that was is an offset of its"
                f" topic, which a log does not have; {_ELSE}"
            )
        if versions and versions[-1].config_hash != record.adapt.config_hash:
            raise UserError(f"--like: {folder} holds versions of other settings than its record; {_ELSE}")
        return cls(folder, record)

    def options(self) -> dict[str, Any]:
        """The run's settings as options of replay."""
        adapt = self.record.adapt
        times = {name: getattr(adapt, f"{name}_ms") for name in ("slide", "publish_delay", "popularity_window")}
        return {
            **{name: getattr(adapt, name) for name in _SAME},
            **{name: f"{value}ms" for name, value in times.items() if value is not None},
            "max_train_events": self.record.stream.max_train_events,
        }

    def stream(self) -> StreamNames:
        """What else of the run is in its versions, or decides what is late."""
        return StreamNames(self.record.stream.run, self.record.stream.allowed_lateness_ms)

    def compare(self, store: LatentStore) -> Likeness:
        """Compare the versions of a replay with the run's, slide by slide."""
        live, ours = _hashes(LatentStore.open(self.folder / "store")), _hashes(store)
        both = live.keys() & ours.keys()
        different = [end_ms for end_ms in both if live[end_ms] != ours[end_ms]]
        return Likeness(str(self.folder), len(both), len(both) - len(different), min(different, default=None))


def _hashes(store: LatentStore) -> dict[int, str]:
    return {version.slide_end_ms: version.content_hash for version in store.active()}


def bundle_like(recorded: RecordedRun | None, asked: Path | None) -> Path:
    """The bundle asked for, or that of the recorded run.

    Raises:
        UserError: neither is there, or the bundle is another than the recorded run's.
    """
    if recorded is None:
        if asked is None:
            raise UserError("--bundle: missing; name a bundle made by `dynmm pretrain`, or a live run with --like")
        return asked
    path = recorded.record.adapt.bundle if asked is None else asked
    if asked is None and not path.is_dir():
        raise UserError(f"--bundle: that of {recorded.folder} is not at {path} any more; name it with --bundle")
    newest = LatentStore.open(recorded.folder / "store").head()
    if newest is not None and Bundle.load(path).hash != newest.base_hash:
        raise UserError(f"--bundle: {path} is not the one that {recorded.folder} was made with ({newest.base_hash:.16})")
    return path
