"""The paper's table 2 (CelebAMask-HQ): its six task combinations, dense and at λ = 1e-5, 5 seeds; 60 runs.

python scripts/sweep.py --plan=table2 --config=configs/celeba.py --root=DIR -- --config.dataset.source_dir=CELEBA
"""

from plans.combinations import runs, strengths

PAPER = "table2"
COMBINATIONS = (
    ("segmentation",),
    ("male",),
    ("smiling",),
    ("segmentation", "male"),
    ("male", "smiling"),
    ("segmentation", "male", "smiling"),
)
RUNS = runs(COMBINATIONS, strengths((0.0, 1e-5)), range(5))
