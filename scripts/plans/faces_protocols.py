"""Real faces: the habits of the paper's code against the sound protocol, 5 seeds; 35 runs.

    python scripts/faces_folder.py --maps=MAPS --celeba=CELEBA --output=FACES
    python scripts/sweep.py --plan=faces_protocols --config=folder --root=DIR -- --config.dataset.source_dir=FACES

The rows of the plan `protocols`, with segmentation and an open mouth as tasks. The attribute is a binary one, so here
the published sigmoid too many plays a part. The dense runs of the sound protocol are those of `faces`.
"""

from plans import protocols
from plans.combinations import runs
from plans.faces import EPOCHS, SEEDS, SIZE

TASKS = ("segmentation", "mouth_open")
STRENGTH, PUBLISHED_STRENGTHS = 1e-2, (2e-4, 2e-3)
_NO_TARGET = {"sparsity.target": 0.0}

_rows = runs((TASKS,), protocols.settings(STRENGTH, PUBLISHED_STRENGTHS), SEEDS)
RUNS = {name: {**SIZE, "num_epochs": EPOCHS, **_NO_TARGET, **overrides} for name, overrides in _rows.items()}
