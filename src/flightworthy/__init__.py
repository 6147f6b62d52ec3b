"""flightworthy takes an enterprise AI pilot to production with the evidence."""

__version__ = "0.1.0"
