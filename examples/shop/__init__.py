"""A small shop: FastAPI, SQLAlchemy's asyncio, and every part of rowstamp."""
