"""The `dynmm replay` and `dynmm demo` commands: arguments in, tables or JSON out.

Torch, Arrow and the dataflows are imported when a command runs, so that the help needs none of them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from replay.wire import Wire

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of a table.")]


def replay(
    data: Path,
    *,
    bundle: Path | None = None,
    out: Path,
    seed: int | None = None,
    models: str | None = None,
    history: Literal["event", "version"] | None = None,
    publish_delay: str | None = None,
    slide: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    max_windows: int | None = None,
    popularity_window: str | None = None,
    store_every: int | None = None,
    keep_consumed: Annotated[bool | None, Parameter(negative="")] = None,
    device: str | None = None,
    threads: int | None = None,
    adapter_lr: float | None = None,
    summaries: bool | None = None,
    max_train_events: str | None = None,
    detectors: str | None = None,
    like: Path | None = None,
    truth: Path | None = None,
    protocol: Path | None = None,
    save_split: Path | None = None,
    split: Path | None = None,
    processes: int = 1,
    partitions: int = 1,
    batch_size: int = 10_000,
    via_kafka: str | None = None,
    speed: str | None = None,
    wire: Literal["json", "arrow"] | None = None,
    property: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    keep_topics: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Replay the last 30 % of a prepared log: rank each slide with the last version, learn from it, commit the next.

    The same command on an unfinished run resumes it.

    Parameters
    ----------
    data
        A folder written by `dynmm data prepare`.
    bundle
        A bundle made for this log by `dynmm pretrain`; with --like that of the run by default.
    out
        The run's folder: new, empty, or an unfinished run of the same configuration.
    seed
        Names every random draw of the online part; 0 by default.
    models
        Names with commas between; by default static, window_popularity, decayed_popularity, sequential_rule,
        session_knn, item_knn, switch, adapted_latents, adapted. There are also fine_tune, periodic_retrain and
        lightgcn, which train for long, and need a bundle made with --costly; and adapted_day_old, which is adapted with
        the versions of a day before.
    history
        What a request knows of its user: event, all events up to this one (default); version, what the served
        version holds.
    publish_delay
        Time from a slide's end until its version is served, such as 10m; 0 by default.
    slide
        Length of a slide, 5m to 24h in steps of 5m; 1h by default.
    from_
        Rank events from this moment on (ISO 8601, or ms); earlier online events are learned from.
    to
        Rank events before this moment.
    max_windows
        Rank at most this many non-empty hours.
    popularity_window
        Length of the popularity model's window; the bundle's choice by default.
    store_every
        Keep the rows of every so-many-th version in the store, and the hashes of all; 24 by default.
    keep_consumed
        Let items that the user already consumed be candidates.
    device
        cpu (default) or cuda.
    threads
        CPU threads; part of what makes two runs equal bit for bit; 2 by default.
    adapter_lr
        Learning rate of the adapter; the bundle's choice by default.
    summaries
        Feed summaries of the stream to the adapter (default).
    max_train_events
        Events of a slide that are ranked and learned from, a sample of more; off by default, which takes all.
    detectors
        Which detectors look for drift: adwin, page_hinkley and kswin, with commas between, or off; all of them by default.
        Changes no version.
    like
        The --out folder of a live run: replay with its settings, and compare the versions; options given here go before.
    truth
        The truth of a log made by `dynmm simulate`, a file or the folder that holds it: with it the table has an oracle, the
        most that a model can reach, and the run knows its drifts.
    protocol
        A TOML file whose [replay] table gives these options; the command line goes before it.
    save_split
        Write the manifest of the ranked range to this file.
    split
        Rank the very events that this manifest names.
    processes
        Processes of the dataflow; changes no result.
    partitions
        Parts that the log is read in; changes no result.
    batch_size
        Events that travel together; changes no result.
    via_kafka
        Send the log through these brokers, host:port, in topics made for this run; changes no result.
    speed
        Seconds of the log per second on the wall, such as 3600 for an hour in a second; max by default. With --via-kafka.
    wire
        json (default) sends an event per message, arrow up to a thousand events of a partition. With --via-kafka.
    property
        A setting of librdkafka, key=value; repeatable. ${NAME} is taken from the environment. With --via-kafka.
    keep_topics
        Leave the run's topics when it has ended. With --via-kafka.
    """
    from dynmm_core.console import print_json
    from replay.config import merge_options
    from replay.like import RecordedRun, bundle_like
    from replay.outcome_text import outcome_document, print_outcome
    from replay.protocols import DEFAULT_NAME, read_protocol
    from replay.runner import ReplayRequest, replay_log
    from replay.streaming import Workers

    given = {
        "seed": seed, "models": models, "history": history, "publish_delay": publish_delay, "slide": slide,
        "from": from_, "to": to, "max_windows": max_windows, "popularity_window": popularity_window,
        "store_every": store_every, "keep_consumed": keep_consumed, "device": device, "threads": threads,
        "adapter_lr": adapter_lr, "summaries": summaries, "max_train_events": max_train_events,
        "detectors": detectors,
    }  # fmt: skip
    named = read_protocol(protocol) if protocol else None
    recorded = RecordedRun.open(like) if like else None
    defaults = {**(recorded.options() if recorded else {}), **(named.replay if named else {})}
    outcome = replay_log(
        ReplayRequest(
            data=data,
            bundle=bundle_like(recorded, bundle),
            out=out,
            options=merge_options(given, defaults),
            protocol=named.name if named else DEFAULT_NAME,
            save_split=save_split,
            split=split,
            workers=Workers.of(processes=processes, partitions=partitions, batch_size=batch_size),
            wire=_wire(via_kafka, speed, wire, property, keep_topics),
            like=recorded,
            truth=truth,
        )
    )
    if json:
        print_json(outcome_document(outcome))
    else:
        print_outcome(outcome)


def _wire(
    via_kafka: str | None, speed: str | None, wire: Literal["json", "arrow"] | None, properties: tuple[str, ...], keep: bool
) -> "Wire | None":
    from replay.wire import Wire

    return Wire.of(via_kafka, speed, wire, properties, keep)


def demo(*, out: Path | None = None, seed: int = 0, json: Json = False) -> None:
    """Show the whole way on a simulated stream with two drifts: simulate, prepare, pretrain, replay.

    Parameters
    ----------
    out
        The demo's folder, new or empty; runs/demo by default, numbered where that exists.
    seed
        Names every random draw, the stream's and the models'.
    """
    from dynmm_core.console import print_json
    from replay.demo import run_demo
    from replay.outcome_text import outcome_document, print_outcome

    outcome, stages = run_demo(out, seed)
    if json:
        print_json(outcome_document(outcome, stages))
    else:
        print_outcome(outcome, stages)
