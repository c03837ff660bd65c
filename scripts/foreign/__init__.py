"""Networks that are not ours, for `any_network.py`, `compare_torch_pruning.py` and tests."""
