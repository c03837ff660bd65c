"""Data sets as they are distributed: one reader each."""
