"""Seeded synthetic streams whose drift is known. May use the library; knows neither flows nor replay."""
