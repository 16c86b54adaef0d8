"""A plain Streamlit app that knows nothing of the stage it is shown on: it counts in a file and greets."""

import os
from pathlib import Path

import streamlit as st

counter = Path("/var/lib/counter/visits")
visits = int(counter.read_text()) + 1 if counter.exists() else 1
counter.write_text(str(visits))

st.title("Somebody's own app")
st.write(f"Version {os.environ['VERSION']}, greeting {os.environ.get('GREETING', 'nobody')}.")
st.write(f"Visits: {visits}.")
