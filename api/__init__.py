"""The outside: HTTP, command line, settings, and the one place where everything is joined."""
