"""A capacity model of the summarize job: measured, fitted, checked at loads that were not fitted."""
