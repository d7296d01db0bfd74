"""What is pushed: alerts as they happen, over sockets and event streams."""
