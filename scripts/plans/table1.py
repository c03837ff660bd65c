"""The paper's table 1 (NYU-v2): all combinations of three tasks, dense and at two strengths, 5 seeds; 105 runs.

python scripts/sweep.py --plan=table1 --config=configs/nyu.py --root=DIR -- --config.dataset.source_dir=NYU
"""

from plans.combinations import all_combinations, runs, strengths

PAPER = "table1"
RUNS = runs(all_combinations(("segmentation", "normals", "depth")), strengths((0.0, 1e-6, 1e-5)), range(5))
