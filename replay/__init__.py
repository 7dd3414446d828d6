"""Replay of a prepared log through the dataflows: splits, configuration, run folders, results and their table.

It chooses source, clock and models; the work itself is done by the dataflows in ``flows`` and by ``dynmm_core``.
"""
