"""The SQLAlchemy integration: reads served, writes noticed, commits guarded. It knows nothing of any particular store."""
