"""Tokens for people who sign in with a password, and for those who come from another issuer."""
