"""What a credential is good for."""
