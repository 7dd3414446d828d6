"""A request that cannot be met ends with exit code 2 and one line: what is wrong, where, and the way out."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from calm import Calm
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from live_ops import Operated, closers, halves
from local_broker import LocalBroker

from tests.replay.tiny import bundle_tiny

Open = Callable[..., Operated]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[stream]\nslyde = "1h"', "[stream] has no slyde; it has run, slide,"),
        ('[strem]\nslide = "1h"', "[strem] is no table of a flow; there are kafka, stream,"),
        ('[stream]\nslide = "7m"', "stream.slide: 420000 ms is no multiple of 300000 ms, the pane; give such as 5m"),
        ('[stream]\nslide = "0"', "stream.slide: Input should be greater than or equal to 300000; it was 0"),
        ('[stream]\nslide = 900', "slide: '900' is no duration; write a number and a unit, such as 15m"),
        ('[stream]\nallowed_lateness = "-5m"', "allowed_lateness: '-5m' is no duration; write"),
        ('[stream]\nmax_skew = "soon"', "max_skew: 'soon' is no duration; write"),
        ('[stream]\nidle_after = "100ms"', "stream.idle_after: Input should be greater than or equal to 1000; it was 100"),
        ('[stream]\nstart = "yesterday"', "start: 'yesterday' is no time; write ISO 8601"),
        ('[stream]\nrun = "a/b"', "stream.run: String should match"),
        ('[stream]\nmax_train_events = 0', "stream.max_train_events: Input should be greater than or equal to 1; it was 0"),
        ('[kafka]\nbootstrap = "localhost:kafka"', "kafka.bootstrap: 'localhost:kafka' is no broker's address; write host:port"),
        ('[kafka]\nbootstrap = "a:1,"', "kafka.bootstrap: '' is no broker's address; write host:port"),
        ('[kafka]\nbootstrap = "a:99999"', "kafka.bootstrap: 'a:99999' is no broker's address; write host:port"),
        ('[kafka]\nsummaries = "interactions"', "summaries: interactions is the topic of interactions, too; give every"),
        ('[kafka]\nversions = "new versions"', "versions: 'new versions' is no topic's name; write letters"),
        ("[kafka]\nproperties = 3", "kafka.properties is 3; make it a table"),
        ('[kafka.properties]\n"isolation.level" = "read_uncommitted"', "isolation.level is set by the flow itself; leave it out"),
        ('[kafka.properties]\n"security.protocol" = "TELEGRAPH"', 'Invalid value "TELEGRAPH" for configuration property'),
        ('[kafka.properties]\n"sasl.password" = "${NO_SUCH_SECRET}"', "kafka.properties.sasl.password: the environment has no"),
        ("[flow]\nprocesses = 0", "processes: 0 is no number from 1 to 256; give --processes 1"),
        ('[flow]\nprocesses = "two"', "processes: 'two' is no number from 1 to 256"),
        ("[flow]\nbatch_size = 0", "batch_size: Input should be greater than or equal to 1; it was 0"),
        ("[observe]\nport = 70000", "observe.port: Input should be less than or equal to 65000; it was 70000"),
        ("[stream", "is no TOML file (Expected ']' at the end of a table declaration"),
        ("\udcff", "is no TOML file ('utf-8' codec"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_its_value_and_the_way_out(tmp_path: Path, refused: Refused, text: str, told: str) -> None:
    file = tmp_path / "flow.toml"
    file.write_text(text if "bootstrap" in text else f"{text}\n", errors="surrogateescape")
    bootstrap = [] if "bootstrap" in text else ["--bootstrap", "127.0.0.1:1"]
    assert told in refused("flow", "run", "summarize", "--config", file, *bootstrap, "--recovery", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_config_that_is_a_folder_and_options_of_adapt_are_refused(tmp_path: Path, refused: Refused) -> None:
    here = ("--bootstrap", "127.0.0.1:1")
    assert "is no TOML file" in refused("flow", "run", "summarize", *here, "--config", tmp_path)
    assert "bootstrap: missing; give --bootstrap" in refused("flow", "run", "summarize")
    assert "bundle: missing; adapt needs --bundle" in refused("flow", "run", "adapt", *here)
    assert "no bundle.json; make one with `dynmm pretrain" in refused(
        "flow", "run", "all", *here, "--bundle", tmp_path, "--out", tmp_path / "out"
    )
    adapt = ("flow", "run", "adapt", *here, "--bundle", tmp_path, "--out", tmp_path / "out")
    assert "detectors: 'ddm' is no detector; choose from adwin, page_hinkley, kswin, or off" in refused(
        *adapt, "--detectors", "adwin,ddm"
    )
    (tmp_path / "flow.toml").write_text("[adapt]\ndetectors = 3\n")
    assert "detectors: 3 is no list of detectors; choose from" in refused(*adapt, "--config", tmp_path / "flow.toml")
    (tmp_path / "flow.toml").write_text("[adapt]\nbundle = 3\n")
    assert "bundle: 3 is no path" in refused("flow", "run", "all", *here, "--out", "o", "--config", tmp_path / "flow.toml")


def test_a_missing_topic_is_named_with_the_command_that_makes_it(open_run: Open, refused: Refused) -> None:
    run = open_run(interactions="nowhere-to-be-seen")
    assert "there is no topic nowhere-to-be-seen; create it with `dynmm flow topics`" in refused(*arguments(run, "summarize"))
    run.changes = {"--summaries": "unseen"}
    for kind in ("summarize", "adapt"):
        assert "there is no topic unseen; create it with `dynmm flow topics`" in refused(*arguments(run, kind))


def arguments(run: Operated, kind: str, *more: str) -> list[str]:
    """The command without its interpreter."""
    return run.command(kind, *more)[3:]


@pytest.fixture(scope="module")
def stopped(broker: LocalBroker, small, calm: Calm, tmp_path_factory: pytest.TempPathFactory) -> Operated:  # type: ignore[no-untyped-def]
    """Two flows that were stopped in the middle of the log. What a test breaks of it, it brings back."""
    run = Operated(broker.bootstrap, tmp_path_factory.mktemp("stopped"), small[1])
    run.make_topics(len(calm.messages))
    run.produce(halves(calm.messages)[0])
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    for flow in flows:
        flow.stop()
    return run


@pytest.fixture
def changed(stopped: Operated, tmp_path: Path) -> Operated:
    """The stopped run with folders of the test's own."""
    for name in ("out", "recovery"):
        shutil.copytree(stopped.folder / name, tmp_path / name)
    return Operated(
        stopped.bootstrap, tmp_path, stopped.bundle, name=stopped.name, run=stopped.run, interactions=stopped.interactions
    )


def test_folders_of_another_run_are_refused(changed: Operated, refused: Refused) -> None:
    changed.run = "other"
    assert "run: " in (said := refused(*arguments(changed, "summarize"))), said
    assert "belongs to a run with 'replay', not 'other'" in said and "--run NAME and --recovery FOLDER" in said
    assert "belongs to run replay, not other; give --run replay, or --out" in refused(*arguments(changed, "adapt"))
    changed.changes = {"--recovery": str(changed.folder / "new")}
    assert "belongs to run replay, not other; give --run replay, or --out" in refused(*arguments(changed, "all"))
    assert not (changed.folder / "new").exists()


def test_folders_of_another_slide_are_refused(changed: Operated, refused: Refused) -> None:
    changed.changes = {"--slide": "2h"}
    said = refused(*arguments(changed, "summarize"))
    assert "slide_ms: " in said and "belongs to a run with 3600000, not 7200000" in said and "begin another run" in said
    said = refused(*arguments(changed, "adapt"))
    assert "was begun with slide_ms 3600000, not 7200000" in said and "another --out" in said


def test_a_store_of_another_bundle_or_seed_is_refused(small, changed: Operated, refused: Refused) -> None:  # type: ignore[no-untyped-def]
    bundle_tiny(small[0], changed.folder / "bundle", epochs=2)
    changed.bundle = changed.folder / "bundle"
    said = refused(*arguments(changed, "adapt"))
    assert "was begun with bundle " in said and "give the same again, or another --out" in said
    changed.bundle = small[1]
    assert "was begun with seed 0, not 7" in refused(*arguments(changed, "adapt", "--seed", "7"))


def test_a_store_of_the_other_kind_of_flow_is_refused(changed: Operated, refused: Refused) -> None:
    changed.changes = {"--recovery": str(changed.folder / "new")}
    assert "was not written by flow run all; give --out another folder" in refused(*arguments(changed, "all"))


def test_a_recovery_folder_that_lost_its_states_is_refused(changed: Operated) -> None:
    shutil.rmtree(changed.folder / "recovery" / "tails")
    said = changed.flow("summarize", status=2)["stderr"]
    assert "has no state" in said and "bring the folder back, or begin another run with --run NAME and --recovery" in said


def recreate(broker: LocalBroker, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_topics([topic])[topic].result()
    deadline = time.monotonic() + 30
    while topic in admin.list_topics(timeout=5).topics and time.monotonic() < deadline:
        time.sleep(0.05)
    broker.create_topic(topic, partitions)


def test_topics_that_were_deleted_and_made_again_are_refused(
    broker: LocalBroker, calm: Calm, open_run: Open, refused: Refused
) -> None:  # fmt: skip
    run = open_run(halves(calm.messages)[0])
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 2, "version 2")
    for flow in flows:
        flow.stop()
    recreate(broker, run.settings.summaries, 1)
    for kind in ("summarize", "adapt"):
        said = refused(*arguments(run, kind))
        assert f"topic: {run.settings.summaries} was deleted and created again" in said
        assert "--run NAME, another --out and another --recovery" in said
    recreate(broker, run.settings.interactions, len(calm.messages))
    run.changes = {"--summaries": calm.live.settings.summaries}
    assert f"topic: {run.settings.interactions} was deleted and created again" in refused(*arguments(run, "summarize"))


def forget(broker: LocalBroker, topic: str, partition: int, offset: int) -> None:
    """Have the broker drop everything before the offset, as retention would."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    place = TopicPartition(topic, partition, offset)
    next(iter(admin.delete_records([place]).values())).result()


def test_offsets_that_are_no_longer_kept_are_named(
    broker: LocalBroker, calm: Calm, open_run: Open, refused: Refused
) -> None:  # fmt: skip
    run = open_run(halves(calm.messages)[0])
    flows = [run.begin("summarize"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= 2, "version 2")
    for flow in flows:
        flow.stop()
    run.produce(halves(calm.messages)[1])
    forget(broker, run.settings.interactions, 1, -1)
    said = refused(*arguments(run, "summarize"))
    assert f"offset: {run.settings.interactions}/1 holds offsets {len(calm.messages[1])} to" in said
    assert "goes on at" in said and "begin another with --run NAME, and raise the topic's retention" in said
    forget(broker, run.settings.summaries, 0, -1)
    said = refused(*arguments(run, "adapt"))
    assert f"offset: {run.settings.summaries}/0 holds offsets" in said and "another --out" in said


@pytest.mark.soak
def test_offsets_that_go_while_a_flow_reads_are_named(broker: LocalBroker, calm: Calm, open_run: Open) -> None:
    """A flow that stands before a broker's gap: what it was to read next is dropped while it is frozen."""
    first, second = halves(calm.messages)
    run = open_run(first)
    flow = run.begin("all")
    flow.wait_for(lambda: len(run.made()) >= 3, "version 3")
    flow.process.send_signal(signal.SIGSTOP)
    run.produce(second)
    run.produce(closers(second))
    forget(broker, run.settings.interactions, 2, -1)
    flow.process.send_signal(signal.SIGCONT)
    said = flow.ended(status=2)["stderr"]
    assert f"offset: {run.settings.interactions}/2 no longer holds offset {len(first[2])}" in said
    assert "begin another with --run NAME, and raise the topic's retention" in said


def test_a_topic_that_refuses_chunks_ends_the_flow_and_a_mended_one_goes_on(
    broker: LocalBroker, calm: Calm, open_run: Open
) -> None:  # fmt: skip
    run = open_run(calm.messages)
    sizes = [len(value) for key, value in calm.live.read(calm.live.settings.summaries) if not key.endswith(b"/end")]
    set_most_bytes(broker, run.settings.summaries, max(sizes) - 100)
    # One message a batch: the refusal of a chunk is then none of the marker behind it.
    said = run.flow("summarize", "--drain", "--property", "batch.num.messages=1", status=2)["stderr"]
    assert f"kafka: {run.settings.summaries} takes no message" in said and "mend the topic and start again" in said
    assert len(run.summaries()) < len(calm.summaries)
    set_most_bytes(broker, run.settings.summaries, 1_048_576)
    run.flow("summarize", "--drain")
    assert {key: value for key, value in run.summaries().items() if key in calm.summaries} == calm.summaries


def set_most_bytes(broker: LocalBroker, topic: str, count: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # kept: its end would be the end of the answers
    admin.incremental_alter_configs([resource])[resource].result()
