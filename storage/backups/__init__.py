"""Backups of the embedded PostgreSQL: taken while it runs, verified, and restored into a new data directory."""

from storage.backups.manifest import Manifest, read_manifest
from storage.backups.restoring import Restored, restore_backup
from storage.backups.taking import take_backup

__all__ = ["Manifest", "Restored", "read_manifest", "restore_backup", "take_backup"]
