"""A rehearsal: some guests are stopped and started now, as a shutdown of the host would."""
