"""Serve the newest pushed image on this host."""
