"""Outside bytes become columns of readings here, and what is wrong with one is said, reading by reading."""
