"""What a tenant uses, and its quotas."""
