"""The models and presets that the benchmark speaks of by name."""

from dynmm_core.adapt.loop_settings import DAY_OLD_MODEL as DAY_OLD
from replay.drift_figures import STATIC
from replay.oracle import ORACLE
from replay.results import ADAPTED

NULL = "null"

__all__ = ["ADAPTED", "DAY_OLD", "NULL", "ORACLE", "STATIC"]
