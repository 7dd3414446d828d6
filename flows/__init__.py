"""Bytewax glue: sources, steps, sinks, and one file per dataflow. What an event, a slide or a model is lives in dynmm_core."""
