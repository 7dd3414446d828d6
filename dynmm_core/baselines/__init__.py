"""The simple models that adaptation is measured against, at the same refresh cadence and tuned on the same tail."""
