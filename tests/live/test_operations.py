"""What a data engineer does to a run: stop, drain, re-drive, backfill, roll back, roll over to a new bundle."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calm import PARTITIONS, Calm
from confluent_kafka import Consumer, TopicPartition
from live_ops import Messages, Operated, closes, halves, tree

from dynmm_core.store import LatentStore
from tests.replay.tiny import bundle_tiny

Open = Callable[..., Operated]
Refused = Callable[..., str]
Done = Callable[..., str]
KINDS = [("summarize", "adapt"), pytest.param(("all",), marks=pytest.mark.soak)]


@pytest.mark.parametrize("kinds", KINDS, ids=["two flows", "all"])
def test_a_stop_in_the_middle_loses_nothing(calm: Calm, open_run: Open, kinds: tuple[str, ...]) -> None:
    run = open_run(halves(calm.messages)[0])
    flows = [run.begin(kind) for kind in kinds]
    flows[-1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    told = [flow.stop() for flow in flows]
    assert all(closes(one) for one in told) and told[0]["accounting"]["pending"] > 0
    run.produce(halves(calm.messages)[1])
    flows = [run.begin(kind) for kind in kinds]
    flows[-1].wait_for(lambda: len(run.made()) >= len(calm.versions), "last version")
    told = [flow.stop() for flow in flows]
    assert all(closes(one) for one in told)
    assert told[0]["accounting"]["read"] == calm.expected.read + len(calm.messages)
    assert told[0]["accounting"]["pending"] == len(calm.messages)
    assert run.versions() == calm.versions
    if len(kinds) == 2:
        assert run.summaries() == calm.summaries


def test_a_drained_run_ends_its_adapt_and_is_not_gone_on_with(calm: Calm, open_run: Open, refused: Refused) -> None:
    run = open_run(calm.messages)
    adapt = run.begin("adapt")
    told = run.flow("summarize", "--drain")
    assert closes(told) and told["accounting"]["pending"] == 0
    assert closes(adapt.ended())
    assert run.versions() == calm.live.versions()
    run.produce({0: calm.messages[0][-1:]})
    for more in ((), ("--drain",)):
        said = refused(*run.command("summarize", *more)[3:])
        assert "run: replay was drained to its end; begin another with --run NAME and --recovery FOLDER" in said
    before = run.versions()
    run.flow("adapt")  # finds nothing to do, and says so by its end
    assert run.versions() == before


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["summarize", "all"])
def test_a_drain_that_was_cut_off_goes_on_as_a_drain(calm: Calm, open_run: Open, kind: str) -> None:
    run = open_run(calm.messages)
    point = "before-end-marker:100" if kind == "summarize" else "after-store-commit:7"
    run.flow(kind, "--drain", status=-9, DYNMM_CRASH_AT=point)
    if kind == "summarize":
        run.flow(kind, "--drain")
        run.flow("adapt")
    else:
        run.flow(kind, "--drain")
    assert run.versions() == calm.live.versions()
    run.produce({0: calm.messages[0][-1:]})
    out = "" if kind == "summarize" else ", another --out"
    told = f"run: replay was drained to its end; begin another with --run NAME{out} and --recovery FOLDER"
    assert told in run.flow(kind, status=2)["stderr"]
    assert run.versions() == calm.live.versions()


def letters(run: Operated) -> list[bytes]:
    return [value for _, value in run.read(run.settings.dead_letters)]


def interactions(run: Operated, partitions: int) -> list[bytes]:
    return [value for partition in range(partitions) for _, value in run.read(run.settings.interactions, partition)]


def redrive(run: Operated, done: Done, *more: str) -> dict[str, Any]:
    topics = run.options()[: 2 + 2 * 5]  # broker and topics
    return dict(json.loads(done("flow", "redrive", *topics, *more, "--json")))


def test_letters_are_sent_back_once_and_by_reason(calm: Calm, open_run: Open, done: Done, refused: Refused) -> None:
    plain: Messages = {partition: some[:-1] for partition, some in calm.messages.items()}
    run = open_run(plain)
    flow = run.begin("summarize")
    flow.wait_for(lambda: len(letters(run)) == calm.expected.dead, "every letter")
    told = flow.stop()
    dead, before = letters(run), interactions(run, len(plain))
    seen = redrive(run, done, "--dry-run")
    assert seen["sent"] == sum(seen["by_reason"].values()) == calm.expected.dead
    assert interactions(run, len(plain)) == before
    assert "--limit: 0 is not 1 or more" in refused("flow", "redrive", *run.options()[:12], "--limit", "0")

    assert redrive(run, done, "--limit", "2")["sent"] == 2
    assert back(run, before) == sorted(dead[:2])
    future = [value for value, why in zip(dead, reasons(run), strict=True) if "ingest_time_ms" in why]
    later = [value for value in future if value not in dead[:2]]
    found = redrive(run, done, "--reason", "ingest_time_ms")
    assert (found["sent"], found["passed_over"]) == (len(later), len(dead) - 2 - len(later)) and later
    assert back(run, before) == sorted([*dead[:2], *later])
    assert redrive(run, done)["sent"] == 0

    told = run.flow("summarize", "--drain")["accounting"]
    mended = len(set(dead[:2]) & set(future)) + len(later)
    assert told["read"] == len(before) + 2 + len(later)
    assert told["dead"] == len(dead) + 2 + len(later) - mended == len({key for key, _ in run.read(run.settings.dead_letters)})
    assert told["used"] + told["late"] == calm.expected.used + calm.expected.late + mended


def reasons(run: Operated) -> list[str]:
    """Why each letter was written, in order."""
    consumer = Consumer({"bootstrap.servers": run.bootstrap, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(run.settings.dead_letters, 0, 0)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append(dict(message.headers())["reason"].decode())
    consumer.close()
    return found


def back(run: Operated, before: list[bytes]) -> list[bytes]:
    """What has come to the interactions since, sorted."""
    return sorted((Counter(interactions(run, PARTITIONS)) - Counter(before)).elements())


def test_a_backfill_makes_what_a_run_of_that_stretch_makes_and_leaves_the_live_run_alone(
    calm: Calm, open_run: Open, refused: Refused, done: Done
) -> None:  # fmt: skip
    run = open_run(calm.messages)
    live = run.begin("all")
    live.wait_for(lambda: len(run.made()) == len(calm.versions), "last version")
    before = {name: tree(run.folder / name) for name in ("out", "recovery")}
    times = sorted(time_ms for some in calm.messages.values() for _, time_ms in some)
    from_ms, to_ms = times[len(times) // 5], times[len(times) * 4 // 5]
    stretch = {partition: [one for one in some if from_ms <= one[1] < to_ms] for partition, some in calm.messages.items()}
    alone = open_run(stretch)
    alone.run = "past"  # a version's hash knows its run
    alone.flow("all", "--drain")

    own = backfill(run, "--run", "past", "--from", str(from_ms), "--to", str(to_ms))
    told = json.loads(done(*own))
    assert closes(told) and told["accounting"]["read"] == sum(map(len, stretch.values()))
    made = [(one.slide_end_ms, one.content_hash) for one in LatentStore.open(run.folder / "past" / "store").active()]
    assert [end for end, _ in made] == [end for end, _ in alone.versions()]
    assert made == alone.versions()
    assert "run: past was drained to its end" in refused(*own)

    onto_live = [str(run.out) if one == str(run.folder / "past") else one for one in own]
    assert "belongs to run replay, not past; give --run replay, or --out another" in refused(*onto_live)
    assert "is not after --from" in refused(*backfill(run, "--run", "p2", "--from", str(to_ms), "--to", str(from_ms)))
    nameless = backfill(run, "--from", str(from_ms))
    del nameless[nameless.index("--run") : nameless.index("--run") + 2]
    assert "--run: missing; a backfill is a run of its own and needs a name" in refused(*nameless)
    assert {name: tree(run.folder / name) for name in ("out", "recovery")} == before
    live.stop()
    assert run.versions() == calm.versions


def backfill(run: Operated, *more: str) -> list[str]:
    """The command for a backfill with folders of its own, named as ``--run`` says."""
    name = more[more.index("--run") + 1] if "--run" in more else "replay"
    places = {"--run": name, "--recovery": str(run.folder / f"{name}.recovery")}
    given = run.options("--bundle", str(run.bundle), "--out", str(run.folder / name), "--threads", "1")
    for option, value in places.items():
        given[given.index(option) + 1] = value
    rest = [one for place, one in enumerate(more) if one != "--run" and (place == 0 or more[place - 1] != "--run")]
    return ["flow", "backfill", *given, *rest, "--json"]


def reading(calm: Calm, run: Operated) -> Operated:
    """The run reads the summaries of the calm one."""
    run.summaries_topic = calm.live.settings.summaries
    return run


@pytest.fixture
def learned(calm: Calm, open_run: Open) -> Operated:
    """A store of its own with every version of the calm run."""
    run = reading(calm, open_run())
    shutil.copytree(calm.live.out, run.out)
    return run


def test_after_a_rollback_adapt_learns_again_what_lies_behind(calm: Calm, learned: Operated, done: Done) -> None:
    done("store", "rollback", learned.out, "3")
    assert learned.versions() == calm.live.versions()[:4]
    learned.flow("adapt")
    assert [end for end, _ in learned.versions()] == [end for end, _ in calm.live.versions()]
    assert len(LatentStore.open(learned.out / "store").log()) == 2 * len(calm.live.versions()) - 4


@pytest.mark.soak
def test_after_a_rollback_both_in_one_read_the_events_again(calm: Calm, open_run: Open, done: Done) -> None:
    run = open_run(calm.messages)
    for known in range(2):
        flow = run.begin("all")
        flow.wait_for(lambda: len(run.made()) == len(calm.versions), "last version")
        assert closes(told := flow.stop())
        assert told["accounting"]["read"] == calm.expected.read + len(calm.messages)
        assert [end for end, _ in run.versions()] == [end for end, _ in calm.versions]
        if not known:
            done("store", "rollback", run.out, "1")
    assert len(LatentStore.open(run.out / "store").log()) == 2 * len(calm.versions) - 2


def test_after_a_rollback_with_skip_adapt_goes_on_behind_the_head_that_was_left(
    calm: Calm, open_run: Open, done: Done
) -> None:  # fmt: skip
    first, second = halves(calm.messages)
    run = open_run(first)
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    flows[1].stop()
    left = run.versions()
    done("store", "rollback", run.out, "0", "--skip")
    flows[1] = run.begin("adapt")
    run.produce(second)
    expected = [calm.versions[0][0], *(end for end, _ in calm.versions[len(left) :])]
    flows[1].wait_for(lambda: len(run.made()) == len(expected), "last version")
    for flow in flows:
        flow.stop()
    assert [end for end, _ in run.versions()] == expected
    assert [one.slide_end_ms for one in LatentStore.open(run.out / "store").skipped()] == [end for end, _ in left[1:]]


@pytest.mark.soak
def test_an_adapt_that_was_not_stopped_before_a_rollback_is_refused_at_its_next_commit(
    calm: Calm, open_run: Open, done: Done
) -> None:  # fmt: skip
    first, second = halves(calm.messages)
    run = open_run(first)
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    done("store", "rollback", run.out, "0")
    made = len(LatentStore.open(run.out / "store").log())
    run.produce(second)
    said = flows[1].ended(status=1)["stderr"]
    assert "was rolled back for run replay" in said
    assert run.versions() == calm.versions[:1] and len(LatentStore.open(run.out / "store").log()) == made
    flows[1] = run.begin("adapt")
    flows[1].wait_for(lambda: len(run.made()) == len(calm.versions), "last version")
    for flow in flows:
        flow.stop()
    assert [end for end, _ in run.versions()] == [end for end, _ in calm.versions]


@pytest.mark.soak
def test_a_second_adapt_with_a_new_bundle_reads_along_and_takes_over(  # type: ignore[no-untyped-def]
    small, calm: Calm, open_run: Open, tmp_path: Path
) -> None:  # fmt: skip
    first, second = halves(calm.messages)
    run = open_run(first)
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    bundle_tiny(small[0], tmp_path / "bundle-2", epochs=2)
    new = open_run()
    new.bundle, new.summaries_topic = tmp_path / "bundle-2", run.settings.summaries
    flows.append(new.begin("adapt"))
    run.produce(second)
    flows[1].wait_for(lambda: len(run.made()) == len(calm.versions), "last version of the old one")
    flows[2].wait_for(lambda: len(new.made()) == len(calm.versions), "last version of the new one")
    for flow in flows:
        flow.stop()
    assert run.versions() == calm.versions
    assert [end for end, _ in new.versions()] == [end for end, _ in calm.versions]
    assert not {one for _, one in new.versions()} & {one for _, one in calm.versions}
    again = reading(calm, open_run())
    again.bundle = tmp_path / "bundle-2"
    again.flow("adapt")
    assert new.versions() == again.versions()[: len(calm.versions)]
