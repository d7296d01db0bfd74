"""Bodies of requests, one module a format; each gives `RawReadings`."""
