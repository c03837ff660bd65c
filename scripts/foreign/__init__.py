"""Networks that are not ours, for `any_network.py` and tests."""
