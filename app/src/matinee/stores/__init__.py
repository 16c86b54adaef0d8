"""Where documents are kept: the truth in SQLite, and a vector index over it."""
