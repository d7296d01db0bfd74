"""Packs that don't exist, with plausible physics, for trying the engine without hardware."""
