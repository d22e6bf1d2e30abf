"""`lvg plan`."""
