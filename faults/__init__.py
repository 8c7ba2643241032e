"""Faults: commands that are killed, crowded out, or get in each other's way (``make faults``)."""
