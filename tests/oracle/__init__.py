"""Random programs whose every cached read is compared with the uncached one."""
