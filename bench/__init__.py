"""Figures, measured where they are printed."""
