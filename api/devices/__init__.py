"""Devices that send the readings of their own pack."""
