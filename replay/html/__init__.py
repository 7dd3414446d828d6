"""The report: a finished run as one HTML file that needs no network.

Numbers are worked out here, in Python: `run_data` reads a run, `cells`, `recovery` and `costs` add up what is shown, `figures`
draws it with plotly, `tables` says the same in figures, `page` joins all with the files of the folder `page`. The script there
computes nothing: it colours, shows, hides and sorts.
"""
