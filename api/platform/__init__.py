"""Tenants as customers, for operators of the installation: nothing of what tenants hold."""
