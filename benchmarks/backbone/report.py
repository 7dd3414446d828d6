"""The document of a run: rows, verdicts, machine; and its tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.backbone.run import BCE, CE, NEUTRAL, OURS, PEER
from benchmarks.backbone.training import Trained
from benchmarks.origin import commit, machine
from dynmm_core.console import print_table

NAMES = ("hr@10", "ndcg@10")
BANDS = {
    BCE: {"hr@10": (0.239, 0.250), "ndcg@10": (0.126, 0.134)},
    CE: {"hr@10": (0.315, 0.321), "ndcg@10": (0.182, 0.186)},
}
NOISE = 2.0


@dataclass(frozen=True)
class Difference:
    """One row minus another in one metric, user by user: mean, its standard error, verdict on the first."""

    metric: str
    mean: float
    error: float

    @property
    def verdict(self) -> str:
        """Within two standard errors it is noise."""
        if abs(self.mean) <= NOISE * self.error:
            return "within noise"
        return "better" if self.mean > 0 else "worse"

    def to_json(self) -> dict[str, Any]:
        """The difference with its verdict."""
        return {"metric": self.metric, "difference": self.mean, "standard_error": self.error, "verdict": self.verdict}


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean of ``values`` (n,), n at least 2."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def differences(ours: Trained, other: Trained) -> list[Difference]:
    """Differences of two rows that were tested on the same requests."""
    assert ours.figures.shape == other.figures.shape
    per_user = ours.figures - other.figures
    return [
        Difference(name, float(per_user[:, k].mean()), standard_error(per_user[:, k])) for k, name in enumerate(NAMES)
    ]  # fmt: skip


def band_checks(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """Each published band, its ends included, against the figure that belongs to it."""
    found = []
    for row in trained:
        for k, name in enumerate(NAMES):
            low, high = BANDS[row.name][name]
            value = float(row.figures[:, k].mean())
            found.append(
                {"row": row.name, "metric": name, "value": value, "standard_error": standard_error(row.figures[:, k]),
                 "low": low, "high": high, "passed": low <= value <= high}
            )  # fmt: skip
    return found


def document_of(trained: Sequence[Trained], published: bool) -> dict[str, Any]:
    """Rows, differences or bands, the machine."""
    by_name = {row.name: row for row in trained}
    document: dict[str, Any] = {"rows": [_row(row) for row in trained]}
    if published:
        document["bands"] = band_checks(trained)
    else:
        for key, name in (("peer", PEER), ("neutral", NEUTRAL)):
            if OURS in by_name and name in by_name:
                pair = (by_name[OURS], by_name[name]) if key == "peer" else (by_name[name], by_name[OURS])
                document[f"{key}_differences"] = [one.to_json() for one in differences(*pair)]
    return document | {"commit": commit(), "machine": machine()}


def missed(document: dict[str, Any]) -> list[str]:
    """What does not hold, in words."""
    worse = [one for one in document.get("peer_differences", []) if one["verdict"] == "worse"]
    outside = [one for one in document.get("bands", []) if not one["passed"]]
    return [
        *(f"{one['metric']}: ours is {-one['difference']:.4f} below {PEER}, beyond noise" for one in worse),
        *(f"{one['row']}, {one['metric']}: {one['value']:.4f} is not in {one['low']}-{one['high']}" for one in outside),
    ]


def print_document(document: dict[str, Any]) -> None:
    """Tables of rows, differences and bands."""
    rows = [
        [row["model"], *(f"{row[name]:.4f} ± {row[f'{name}_standard_error']:.4f}" for name in NAMES), str(row["best_epoch"]),
         f"{row['seconds']:,.0f}"]
        for row in document["rows"]
    ]  # fmt: skip
    print_table(["model", "HR@10", "NDCG@10", "best epoch", "seconds"], rows, title=f"{document['requests']:,} users, test")
    for key, what in (("peer", f"dynmm - {PEER}"), ("neutral", "popularity-neutral - dynmm")):
        if found := document.get(f"{key}_differences"):
            lines = [[one["metric"], f"{one['difference']:+.4f} ± {one['standard_error']:.4f}", one["verdict"]] for one in found]
            print_table([what, "difference", "verdict"], lines)
    if bands := document.get("bands"):
        lines = [
            [f"{one['row']}, {one['metric']}", f"{one['value']:.4f} ± {one['standard_error']:.4f}",
             f"{one['low']:.3f}-{one['high']:.3f}", "yes" if one["passed"] else "NO"]
            for one in bands
        ]  # fmt: skip
        print_table(["published", "measured", "band", "holds"], lines)


def _row(row: Trained) -> dict[str, Any]:
    figures = {}
    for k, name in enumerate(NAMES):
        figures[name] = float(row.figures[:, k].mean())
        figures[f"{name}_standard_error"] = standard_error(row.figures[:, k])
    facts = {"epochs": row.epochs, "best_epoch": row.best_epoch, "validation_ndcg@10": row.validation}
    return {"model": row.name, **figures, **facts, "seconds": round(row.seconds, 1)}
