"""The batch that all contenders are measured with, in NumPy: whoever imports it needs no framework."""

from typing import Any

import numpy as np

from benchmarks.job import OUTPUTS, Job


def batch(job: Job) -> dict[str, Any]:
    """Returns random images and targets, all of them valid, as a data set gives them."""
    generator = np.random.default_rng(0)
    shape = (job.batch_size, job.image_size, job.image_size)
    normals = generator.standard_normal((*shape, 3), np.float32)
    return {
        "image": generator.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "targets": {
            "segmentation": generator.integers(0, OUTPUTS["segmentation"], shape, dtype=np.uint8),
            "depth": generator.uniform(1, 5, shape).astype(np.float32),
            "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        },
    }
