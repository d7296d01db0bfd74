"""Alerts on their way out of the building: what is said and signed, where it may go, and how it is retried."""
