"""SQLAlchemy's own tests of its ORM, run with a cache that serves every SELECT (`make sqlalchemy-tests`)."""
