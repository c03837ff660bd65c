"""What `scripts/survival.py` does to runs, a module for each kind of harm."""
