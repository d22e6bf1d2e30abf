"""`lvg rehearse`."""
