"""`lvg doctor`."""
