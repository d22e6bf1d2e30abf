"""`lvg report`."""
