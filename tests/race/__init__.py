"""An adversary: processes that read, write, are killed and stopped, and a ledger outside the cache that knows what is committed."""
