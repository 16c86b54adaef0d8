"""Matinee's app: ask questions of your own documents and see where each answer comes from."""
