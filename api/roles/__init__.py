"""Roles that tenants make, and what a set of roles may do."""
