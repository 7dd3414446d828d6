"""What two runs cost, and which of their settings differ."""

from replay.html.pairing import shared_models
from replay.html.parts import Section, Table, number_cell, rows_of, text_cell
from replay.html.run_data import RunData


def pair_cost_section(a: RunData, b: RunData) -> Section:
    """Set beside each other what learning cost, by model, and the runs as a whole."""
    spent = [run.metrics.get("update_cpu_seconds", {}) for run in (a, b)]
    rows = [
        [
            text_cell(model),
            *(number_cell(side[model]) for side in spent),
            number_cell(spent[1][model] / spent[0][model] if spent[0][model] else None, "{:.2f}"),
        ]
        for model in shared_models(a.windows, b.windows)
        if all(model in side for side in spent)
    ]
    table = Table("CPU seconds of update", ("model", "A", "B", "B / A"), rows_of(rows))
    whole = [(run.metrics["seconds"], run.metrics["peak_rss_mb"], sum(commit.bytes for commit in run.commits)) for run in (a, b)]
    names = (
        ("seconds, all models together", 1, "{:,.0f}"),
        ("peak memory, MiB", 1, "{:,.0f}"),
        ("latents in the store, MiB", 1 << 20, "{:,.1f}"),
    )
    totals = [
        [text_cell(name), *(number_cell(side[place] / unit, pattern) for side in whole)]
        for place, (name, unit, pattern) in enumerate(names)
    ]
    lead = "On the machines that ran them, beside whatever else those did."
    return Section("cost", "Cost", lead, tables=(table, Table("The runs as a whole", ("total", "A", "B"), rows_of(totals))))


def pair_settings_section(a: RunData, b: RunData) -> Section:
    """List the settings and libraries that are not the same."""
    ours, theirs = (_flat({**run.record.config.model_dump(mode="json"), **run.record.environment}) for run in (a, b))
    differing = [name for name in ours if ours[name] != theirs.get(name)]
    rows = [[text_cell(name), text_cell(ours[name]), text_cell(theirs.get(name, ""))] for name in differing]
    lead = "What differs between the two; everything else is the same." if rows else "The two runs have the same settings."
    tables = (Table("Settings that differ", ("setting", "A", "B"), rows_of(rows), labels=3),) if rows else ()
    return Section("settings", "Settings", lead, tables=tables)


def _flat(settings: dict[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
