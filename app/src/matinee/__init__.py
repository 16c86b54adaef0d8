"""Matinee's app: ask questions of your own documents and see where each answer comes from."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported, which else calls its maker
