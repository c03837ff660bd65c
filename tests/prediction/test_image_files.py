"""What predict reads: which files a name stands for, and how much of them at once."""

import threading

import cv2
import numpy as np

from lim_jax.prediction import image_files


def test_what_is_no_image_is_skipped_or_named(tmp_path):
    for name in ("b.png", "a.jpg", "._a.jpg", ".DS_Store", "c.HEIC", "d.avif"):
        (tmp_path / name).write_bytes(b"")
    found, problems = image_files.find([str(tmp_path)])
    assert [path.name for path in found] == ["a.jpg", "b.png"]
    assert len(problems) == 2
    assert "c.HEIC is a HEIC image, which is not supported: save it as JPEG or PNG" in problems[0]
    assert [path.name for path in image_files.find([f"{tmp_path}/*.jpg", f"{tmp_path}/._*"])[0]] == ["a.jpg"]


def test_pixels_come_from_the_header(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((3, 5, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"?")
    assert [image_files.pixels(tmp_path / name) for name in ("a.png", "b.png", "c.png")] == [15, 0, 0]


def test_few_large_images_are_read_at_once():
    """Of images of 200 megapixels two are kept ready, of small ones as many as asked for; the order stays."""
    lock, active, most = threading.Lock(), set(), {}

    def read(item):
        with lock:
            active.add(item)
            alike = sum(kind == item[0] for kind, _ in active)
            most[item[0]] = max(most.get(item[0], 0), alike)
        return item

    items = [("large", index) for index in range(6)] + [("small", index) for index in range(20)]
    seen = []
    sizes = {"large": 200_000_000, "small": 1000}
    for item, future in image_files.read_ahead(read, items, 4, 8, lambda item: sizes[item[0]]):
        assert future.result() == item
        with lock:
            active.discard(item)
        seen.append(item)
    assert seen == items
    assert most["large"] <= 2 and most["small"] > 2
