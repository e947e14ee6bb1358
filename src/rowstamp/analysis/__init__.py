"""What statements read and write, derived from the statements themselves. Pure: no I/O, no connection."""
