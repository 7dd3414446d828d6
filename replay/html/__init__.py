"""The report: a finished run, or two of them, as one HTML file that needs no network.

Numbers are worked out here, in Python: `run_data` reads a run, `cells` and `pairing` add up and compare, and the sections
(`quality`, `drift`, `strata`, `refresh`, `costs`, `compare`, `pair_causes`) draw charts with plotly, each beside a table that
says the same. `page` joins them with the files of the folder `page`. The script there computes nothing: it colours, shows and
sorts.
"""
