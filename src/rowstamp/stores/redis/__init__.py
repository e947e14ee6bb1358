"""The stores on Redis and Valkey: a blocking and an awaited skin over commands that are data."""

from rowstamp.stores.redis.awaited import AsyncRedisStore
from rowstamp.stores.redis.blocking import RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
