"""Users of a tenant: invited, suspended, deleted; and the end of credentials."""
