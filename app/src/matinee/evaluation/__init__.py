"""Measure how well questions are found and answered, on sets of questions whose answers are known."""
