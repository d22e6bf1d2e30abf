"""Pictures for a terminal, with Rich: tables, bars, and the same as SVG. Imported only by the commands that draw."""
