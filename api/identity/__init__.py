"""Who is signed in: keys, access tokens, passwords, and what has ended before its time."""
