"""Rules and vocabulary of battery telemetry; knows no input or output."""
