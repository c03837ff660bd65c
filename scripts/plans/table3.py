"""The paper's table 3 (NYU-v2): three multi-task combinations with unstructured l1 sparsity, 5 seeds; 15 runs.

    python scripts/sweep.py --plan=table3 --config=configs/nyu.py --root=DIR -- --config.dataset.source_dir=NYU

The paper does not say which λ it used here; 1e-5, the larger one of its table 1, is our choice.
"""

from plans.combinations import runs

PAPER = "table3"
COMBINATIONS = (("segmentation", "normals"), ("normals", "depth"), ("segmentation", "normals", "depth"))
RUNS = runs(COMBINATIONS, {"l1": {"sparsity.penalty": "l1", "sparsity.strength": 1e-5}}, range(5))
