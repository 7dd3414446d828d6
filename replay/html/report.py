"""The report of one run: which sections it has, and what it rests on."""

from collections.abc import Sequence
from pathlib import Path

from dynmm_core.quantities import format_duration
from replay.html.costs import cost_section
from replay.html.drift import drift_section
from replay.html.gap import gap_section, recovery_section
from replay.html.growth import store_section
from replay.html.headline import facts, headline
from replay.html.page import LegendEntry, Page
from replay.html.palette import looks, shown_first
from replay.html.quality import models_section, ratios_section, time_section
from replay.html.refresh import read_refresh_runs, refresh_section
from replay.html.run_data import RunData
from replay.html.strata import strata_section
from replay.html.times import moment
from replay.results import HEADLINE
from replay.table import accounting_line, run_line


def report_page(run: RunData, refresh: Sequence[Path] = ()) -> Page:
    """Return the page of a run; ``refresh``: runs of the same log with slides of other lengths."""
    config = run.record.config
    sections = (
        ratios_section(run),
        time_section(run),
        drift_section(run),
        models_section(run),
        gap_section(run),
        recovery_section(run),
        strata_section(run),
        refresh_section(read_refresh_runs(run, refresh)),
        cost_section(run),
        store_section(run),
    )
    return Page(
        over="DynMM stream: test, then learn",
        title=run.name,
        subtitle=f"{run.record.dataset}, slides of {format_duration(config.slide_ms)}, {_span(run)}",
        headline=headline(run),
        facts=facts(run),
        legend=legend(run),
        shown=shown_first(run.models, run.ratios),
        sections=sections,
        causes=causes(run),
    )


def legend(run: RunData) -> list[LegendEntry]:
    """Return the models' buttons, the best first, each with its headline metric."""
    look, figures = looks(run.models), run.metrics["models"]
    order = sorted((model for model in run.models if model in figures), key=lambda model: -figures[model][HEADLINE])
    return [LegendEntry(model, look[model], f"{100 * figures[model][HEADLINE]:.1f}") for model in order]


def causes(run: RunData) -> list[tuple[str, str]]:
    """Return what the run's figures rest on: log, settings, libraries, and where every event went."""
    record, config = run.record, run.record.config
    return [
        ("run", str(run.path)),
        ("ranked", run_line(run.metrics)),
        ("events", accounting_line(run.accounting)),
        ("log", f"{record.dataset}, fingerprint {config.dataset_fingerprint}"),
        ("split", config.split_hash),
        ("bundle", config.bundle_hash),
        ("protocol", record.protocol),
        ("configuration", record.config_hash),
        (
            "history",
            f"{config.history}; publish delay {format_duration(config.publish_delay_ms)}; {_consumed(config.keep_consumed)}",
        ),
        ("seed, threads, device", f"{config.seed}, {config.threads}, {config.device}"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in record.environment.items())),
        ("peak memory", f"{run.metrics['peak_rss_mb']:,.0f} MiB"),
    ]


def _consumed(kept: bool) -> str:
    return "consumed items are candidates" if kept else "consumed items are no candidates"


def _span(run: RunData) -> str:
    starts = run.windows.starts_ms
    return f"{moment(int(starts[0]))} to {moment(run.until_ms)} UTC" if len(starts) else "no window"
