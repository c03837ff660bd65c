"""Finds images that a list has twice, or that training and test share, by whatever name."""

import pathlib
from collections.abc import Iterable

from lim_jax.data.problems import Problems
from lim_jax.data.sources import fingerprints, paths, raw

_SAMPLED_BYTES = 1 << 14  # of each of several files of one size, before they are read whole

Listed = tuple[pathlib.Path, str]  # an image and its split


def refuse_listed_twice(images: Iterable[Listed]) -> None:
    """Raises `UserError` if an image is listed twice, also under another name: `a/../1.jpg`, or a link."""
    problems = Problems()
    resolve = paths.resolver()
    seen: dict[str, Listed] = {}
    for image, split in images:
        real = resolve(image)
        if real in seen:
            first, first_split = seen[real]
            where = f"twice in {split}" if first_split == split else f"in {first_split} and in {split}"
            also = "" if first == image else f" (once as {first})"
            problems.add(f"{image} is listed {where}{also}: an image belongs to one split, once")
        seen.setdefault(real, (image, split))
    problems.raise_any()


def refuse_copies_between_splits(images: Iterable[Listed]) -> None:
    """Raises `UserError` if an image of one split has a copy, byte for byte, in another one."""
    sizes: dict[int, list[Listed]] = {}
    for image, split in images:
        sizes.setdefault(raw.size(image), []).append((image, split))
    problems = Problems()
    for size, same_size in sizes.items():
        for alike in _groups(same_size, _SAMPLED_BYTES):
            for copies in _groups(alike, size):
                first = copies[0]
                for image, split in copies[1:]:
                    if split != first[1]:
                        problems.add(
                            f"{image} of {split} is the same image as {first[0]} of {first[1]}: what is tested on "
                            "must not be trained on; remove one"
                        )
    problems.raise_any()


def _groups(images: list[Listed], sampled: int) -> list[list[Listed]]:
    """Returns the images that look alike and belong to more than one split, in groups."""
    groups: dict[bytes, list[Listed]] = {}
    if len({split for _, split in images}) > 1:
        for image, split in images:
            key = fingerprints.content_digest(image, sampled)
            groups.setdefault(key, []).append((image, split))
    return [group for group in groups.values() if len({split for _, split in group}) > 1]
