"""What a tenant lets operators of the installation do in it for a time."""
