"""The engine: what happens between a decoded batch and its commit."""
