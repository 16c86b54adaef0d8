"""The document which comes with the app, and its source."""
