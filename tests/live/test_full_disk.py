"""A disk that fills up ends a flow with one line; once there is room, a start goes on to the same versions."""

from collections.abc import Callable
from pathlib import Path

from calm import Calm
from live_ops import Operated

from tests.disks import resize

Open = Callable[..., Operated]
TOLD = "no space left; free space and start again, nothing is lost"


def test_a_full_recovery_folder(calm: Calm, open_run: Open, small_disk: Path) -> None:
    resize(small_disk, "24k")
    run = open_run(calm.messages, recovery=str(small_disk / "recovery"))
    assert TOLD in run.flow("summarize", "--drain", status=2)["stderr"]
    assert len(run.summaries()) < len(calm.summaries)
    resize(small_disk, "16m")
    run.flow("summarize", "--drain")
    assert run.summaries().items() >= calm.summaries.items()


def test_a_full_store(calm: Calm, open_run: Open, small_disk: Path) -> None:
    resize(small_disk, "512k")
    run = open_run()
    run.summaries_topic = calm.live.settings.summaries
    run.out.symlink_to(small_disk)
    assert TOLD in run.flow("adapt", status=2)["stderr"]
    done = run.versions()
    assert done == calm.live.versions()[: len(done)] and len(done) < len(calm.live.versions())
    resize(small_disk, "64m")
    run.flow("adapt")
    assert run.versions() == calm.live.versions()
