"""Security events: what was refused, to whom, from where."""
