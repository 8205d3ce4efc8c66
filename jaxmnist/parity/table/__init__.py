"""The parity table as data: one file a kind, rows that are run, and the page made of them."""
