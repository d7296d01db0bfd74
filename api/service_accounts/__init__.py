"""Programs that call: service accounts, and the API keys of whoever is no person."""
