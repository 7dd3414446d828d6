"""The `dynmm flow` commands: topics, run, redrive, status.

The engine and the broker's client are imported when a command runs, so that the help needs neither.
"""

from typing import Annotated

from cyclopts import Parameter

from flows.live.options import FlowOptions

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of a table.")]
Options = Annotated[FlowOptions, Parameter(name="*")]
Properties = Annotated[tuple[str, ...], Parameter(name="--property", negative="", help="A setting of librdkafka, key=value.")]
_DEFAULTS = FlowOptions()


def run_summarize(
    *,
    options: Options = _DEFAULTS,
    drain: bool = False,
    process: int | None = None,
    addresses: str | None = None,
    json: Json = False,
) -> None:
    """Read interactions, write slide summaries, dead letters and late events; goes on where the run left off.

    SIGTERM stops it without loss: events of open slides are read again.

    Parameters
    ----------
    drain
        End at the newest message of now, with every slide closed; the run is over then.
    process
        This process's number in a cluster that others start, from 0; with --addresses.
    addresses
        host:port of every process of that cluster, with commas between.
    """
    _run("summarize", options, drain, process, addresses, json)


def run_adapt(*, options: Options = _DEFAULTS, json: Json = False) -> None:
    """Read slide summaries, rank, learn, commit a version per slide, announce it; goes on behind the store's head.

    It ends when the run it reads was drained, or by SIGTERM.
    """
    _run("adapt", options, False, None, None, json)


def run_all(*, options: Options = _DEFAULTS, drain: bool = False, json: Json = False) -> None:
    """Summarize and adapt in one dataflow, without a summaries topic; the store's head says where both go on.

    Parameters
    ----------
    drain
        End at the newest message of now, with every slide closed.
    """
    _run("all", options, drain, None, None, json)


def backfill(
    *, options: Options = _DEFAULTS, from_: Annotated[str, Parameter(name="--from")], to: str | None = None, json: Json = False
) -> None:
    """Run summarize and adapt over a past stretch of the topic, as a run of its own with its own --run, --out and --recovery.

    Reading begins at the first message that the broker took in at --from, and ends before the first one of --to; the live
    run is not touched.

    Parameters
    ----------
    from_
        Begin with messages of this moment, by the broker's time.
    to
        End before messages of this moment; by default at the newest message of now.
    """
    from dynmm_core.errors import UserError
    from dynmm_core.quantities import parse_time_ms
    from flows.live.backfill import run_backfill

    try:
        from_ms, to_ms = parse_time_ms(from_), None if to is None else parse_time_ms(to)
    except ValueError as error:
        raise UserError(f"--from, --to: {error}") from error
    _tell(run_backfill(options, from_ms, to_ms), json)


def topics(
    *, options: Options = _DEFAULTS, partitions: int = 4, retention: str = "7d", summaries_retention: str = "30d",
    replication: int = 1, json: Json = False,
) -> None:  # fmt: skip
    """Make the topics of a run where they are missing, and check those that are there.

    Parameters
    ----------
    partitions
        Partitions of the interactions topic.
    retention
        How long interactions are kept, or "forever".
    summaries_retention
        How long summaries, letters and announcements are kept: longer than you may want to roll back.
    replication
        Copies of each topic; 3 on a cluster.
    """
    from dynmm_core.console import print_json, print_table
    from dynmm_core.errors import UserError
    from flows.kafka.topics import make_topics, shapes
    from flows.live.options import kafka_settings, retention_ms

    for option, count in (("--partitions", partitions), ("--replication", replication)):
        if count < 1:
            raise UserError(f"{option}: {count} is too small; give 1 or more")
    settings = kafka_settings(options)
    wanted = shapes(
        settings, partitions, retention_ms("retention", retention), retention_ms("summaries_retention", summaries_retention)
    )
    made = make_topics(settings, wanted, replication)
    rows = [
        {"topic": one.shape.name, "partitions": one.shape.partitions, "retention_ms": one.shape.retention_ms,
         "cleanup_policy": one.shape.cleanup_policy, "made": one.made}
        for one in made
    ]  # fmt: skip
    if json:
        print_json(rows)
        return
    print_table(["topic", "partitions", "retention", "state"], [
        [row["topic"], str(row["partitions"]), _days(row["retention_ms"]), "made" if row["made"] else "was there"] for row in rows
    ])  # fmt: skip


def redrive(
    *, options: Options = _DEFAULTS, reason: str | None = None, limit: int | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False, json: Json = False,
) -> None:  # fmt: skip
    """Send dead letters back to the interactions topic, each once, after the cause was mended.

    Letters that were sent back are remembered by the broker (consumer group dynmm-redrive), also those that --reason passes over.

    Parameters
    ----------
    reason
        Only letters whose reason contains this text.
    limit
        At most so many letters.
    dry_run
        Count, by reason, and send nothing.
    """
    from dynmm_core.console import print_json, print_table
    from flows.kafka.redrive import redrive_letters
    from flows.live.options import kafka_settings

    found = redrive_letters(kafka_settings(options), reason, limit, dry_run)
    if json:
        print_json({"sent": found.sent, "passed_over": found.passed_over, "by_reason": found.by_reason})
        return
    title = f"{found.sent} of {found.sent + found.passed_over} dead letters {'would be ' if dry_run else ''}sent back"
    print_table(["reason", "letters"], [[name, str(count)] for name, count in sorted(found.by_reason.items())], title=title)


def _run(kind: str, options: FlowOptions, drain: bool, process: int | None, addresses: str | None, json: bool) -> None:
    from dynmm_core.errors import UserError
    from flows.live.options import resolve
    from flows.live.run import Place, run_live

    resolved = resolve(kind, options, drain)  # type: ignore[arg-type]
    place = None
    if (process is None) != (addresses is None):
        raise UserError("--process: goes with --addresses; give both, or --processes N alone")
    if process is not None and addresses is not None:
        place = Place(number=process, addresses=tuple(addresses.split(",")))
        if not 0 <= process < len(place.addresses):
            raise UserError(f"--process: {process} is none of the {len(place.addresses)} of --addresses; count from 0")
    _tell(run_live(resolved.config, resolved.processes, place), json)


def _tell(result: object, json: bool) -> None:
    from dynmm_core.console import print_json, print_table
    from flows.process import FlowResult

    assert isinstance(result, FlowResult)
    if json:
        print_json({**result.model_dump(), "accounting_closes": result.accounting.closes})
    else:
        accounting = result.accounting.model_dump()
        head = result.progress
        title = (
            f"{head.slides} slides"
            + (f", version {head.version}" if head.version is not None else "")
            + f", {result.seconds:.1f} s"
        )
        print_table(
            ["events", *accounting], [["since the run began", *(f"{count:,}" for count in accounting.values())]], title=title
        )
    if not result.accounting.closes:
        raise RuntimeError(f"accounting: {result.accounting!r} does not close")


def _days(duration_ms: int) -> str:
    from dynmm_core.quantities import format_duration

    return "forever" if duration_ms < 0 else format_duration(duration_ms)
