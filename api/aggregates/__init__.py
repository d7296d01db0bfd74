"""Windows of packs and of groups of packs."""
