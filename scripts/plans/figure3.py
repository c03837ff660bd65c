"""The paper's figure 3 (NYU-v2): all three tasks together, λ from 1e-7 to 1e-3 and dense, 5 seeds; 30 runs.

python scripts/sweep.py --plan=figure3 --config=configs/nyu.py --root=DIR -- --config.dataset.source_dir=NYU
"""

from plans.combinations import runs, strengths

PAPER = "table1"
RUNS = runs((("segmentation", "normals", "depth"),), strengths((0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)), range(5))
