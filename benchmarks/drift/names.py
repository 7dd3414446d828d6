"""The models and presets that the benchmark speaks of by name."""

ADAPTED, DAY_OLD, STATIC, ORACLE = "adapted", "adapted_day_old", "static", "oracle"
NULL = "null"
