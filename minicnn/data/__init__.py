"""Data: reading it, splitting it, handing it out in batches."""
