"""Files as people have them, by kind: what is read of them, and the one line for what is not."""

import io
import os
import pathlib
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from lim_jax.data.sources import decoding, files, headers
from lim_jax.errors import UserError

H, W = 4, 6
GRAY = np.arange(H * W, dtype=np.uint8).reshape(H, W) * 10
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
LARGE = np.kron(COLOR, np.ones((99, 99, 1), np.uint8))
PLANE = np.linspace(0, 1, H * W, dtype=np.float32).reshape(H, W)
NORMALS = np.stack(
    [np.full((H, W), 0.6, np.float32), np.zeros((H, W), np.float32), np.full((H, W), 0.8, np.float32)], -1
)


def _photo(shape=(H, W), orientation=1):
    return files.Photo(pathlib.Path("photo.jpg"), np.zeros((*shape, 3), np.uint8), orientation)


def _write(path: pathlib.Path, content) -> pathlib.Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npy":
        np.save(path, content)
    else:
        assert cv2.imwrite(str(path), content[..., ::-1] if content.ndim == 3 else content)
    return path


READ_AS_IMAGES = {
    "PNG": ("a.png", COLOR, COLOR),
    "grey PNG": ("a.png", GRAY, np.dstack([GRAY] * 3)),
    "npy of bytes": ("a.npy", COLOR, COLOR),
    "npy of floats": ("a.npy", COLOR / 255, COLOR),
    "npy of one channel": ("a.npy", GRAY[..., None], np.dstack([GRAY] * 3)),
    "npy, columns first": ("a.npy", np.asfortranarray(COLOR), COLOR),
    "npy of another machine": ("a.npy", (COLOR / 255).astype(">f4"), COLOR),
    "TIFF": ("a.tif", COLOR, COLOR),
    "TIFF of floats": ("a.tif", (COLOR / 255).astype(np.float32), COLOR),
}


@pytest.mark.parametrize(("name", "stored", "image"), READ_AS_IMAGES.values(), ids=READ_AS_IMAGES)
def test_images(tmp_path, name, stored, image):
    read = files.read_image(_write(tmp_path / name, stored))
    assert read.dtype == np.uint8 and read.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(read, image)


READ_AS_LABELS = {
    "PNG of 8 bits": ("a.png", GRAY, GRAY),
    "PNG of 16 bits": ("a.png", GRAY.astype(np.uint16) * 200, GRAY.astype(int) * 200),
    "PNG with equal channels": ("a.png", np.dstack([GRAY] * 3), GRAY),
    "npy": ("a.npy", GRAY.astype(np.int64), GRAY),
    "npy of booleans": ("a.npy", GRAY > 40, GRAY > 40),
    "npy of floats with -1": ("a.npy", GRAY[..., None].astype(np.float32) - 1, GRAY.astype(int) - 1),
    "TIFF of floats": ("a.tif", GRAY.astype(np.float32), GRAY),
}


@pytest.mark.parametrize(("name", "stored", "labels"), READ_AS_LABELS.values(), ids=READ_AS_LABELS)
def test_label_maps(tmp_path, name, stored, labels):
    read = files.read_labels(_write(tmp_path / name, stored), _photo())
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


def _with(values, dtype):
    """A depth map of 2s (unknown in one corner) with `values` in its first row."""
    depth = np.full((H, W), 2, dtype)
    depth[-1, -1] = 0
    depth[0, : len(values)] = values
    return depth


FREE = (0.0, float("inf"))
READ_AS_DEPTH = {
    "all known": ("a.npy", _with([3.5], np.float32), 1.0, FREE, [3.5], {}),
    "16 bits": ("a.png", _with([3000, 65535, 65535], np.uint16), 0.001, FREE, [3, 0, 0], {"65535": 2}),
    "floats that stand for it": ("a.npy", _with([65535.0], np.float64), 1.0, FREE, [0], {"65535": 1}),
    "largest of a type": ("a.npy", _with([2**31 - 1], np.int32), 1.0, FREE, [0], {"65535": 1}),
    "NaN and infinity": (
        "a.npy",
        _with([np.nan, np.inf, -np.inf], np.float32),
        1.0,
        FREE,
        [0, 0, 0],
        {"NaN or infinite": 3},
    ),
    "beyond float32": ("a.npy", _with([1e300], np.float64), 1.0, FREE, [0], {"NaN or infinite": 1}),
    "negative": ("a.npy", _with([-1.5, 1.5], np.float16), 1.0, FREE, [0, 1.5], {"negative": 1}),
    "beyond the range": ("a.npy", _with([0.1, 9, 8], np.float32), 1.0, (0.5, 8), [0, 0, 8], {"beyond the range": 2}),
    "NaN where a range is given": ("a.npy", _with([np.nan], np.float32), 1.0, (0.5, 8), [0], {"NaN or infinite": 1}),
    "all NaN": ("a.npy", np.full((H, W), np.nan), 1.0, FREE, [0], {"NaN or infinite": H * W}),
    "8 bits": ("a.png", _with([255, 7], np.uint8), 0.5, FREE, [127.5, 3.5], {"at the largest of 8 bits": 1}),
    "TIFF of floats": ("a.tif", _with([2.5, np.nan], np.float32), 1.0, FREE, [2.5, 0], {"NaN or infinite": 1}),
}


@pytest.mark.parametrize(
    ("name", "stored", "scale", "bounds", "first", "noted"), READ_AS_DEPTH.values(), ids=READ_AS_DEPTH
)
def test_depth_that_is_no_measurement_is_unknown_and_counted(tmp_path, name, stored, scale, bounds, first, noted):
    depth = files.read_depth(_write(tmp_path / name, stored), _photo(), scale, bounds)
    assert depth.metres.dtype == np.float32 and depth.metres[-1, -1] == 0
    np.testing.assert_allclose(depth.metres[0, : len(first)], first, rtol=1e-6)
    assert depth.noted == noted


@pytest.mark.parametrize("void", [0, 255, 127, [127, 128, 127]])
def test_normals_of_images_and_their_voids(tmp_path, void):
    stored = np.round((NORMALS + 1) * 127.5).astype(np.uint8)
    stored[0] = void
    normals = files.read_normals(_write(tmp_path / "a.png", stored), _photo()) if void != 0 else None
    if normals is None:  # black is a direction of length 1.7
        with pytest.raises(UserError, match="not unit"):
            files.read_normals(_write(tmp_path / "a.png", stored), _photo())
        return
    assert np.all(normals[0] == 0)
    np.testing.assert_allclose(normals[1:], NORMALS[1:], atol=0.01)


def _array_header(shape: str, dtype: str = "'<f4'") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, PLANE)
    return file.getvalue()


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_of(height: int, width: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(9999))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _encoded(ending: str, image: np.ndarray) -> bytes:
    return cv2.imencode(ending, image)[1].tobytes()


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


REFUSED = {
    "npz named npy": ("a.npy", _npz(), "is an npz archive: save the one array"),
    "array of strings": ("a.npy", np.full((H, W), "sky"), "values of type <U3: save plain numbers"),
    "array of objects": ("a.npy", _saved(np.full((H, W), None)), "values of type object"),
    "array of complex numbers": ("a.npy", PLANE * 1j, "values of type complex"),
    "structured array": ("a.npy", np.zeros((H, W), [("z", "f4")]), "values of type .*'z'"),
    "array of dates": ("a.npy", np.zeros((H, W), "datetime64[s]"), "values of type datetime64"),
    "array without a header": ("a.npy", b"\x93NUMPY\x01\x00\x99\x99", "as a NumPy array"),
    "array that is text": ("a.npy", b"hello", "as a NumPy array"),
    "array that is empty": ("a.npy", b"", "as a NumPy array"),
    "array that is cut short": ("a.npy", _array_header("(4, 6)"), "is cut short"),
    "array of terabytes": ("a.npy", _array_header("(1000000, 1000000)"), "more than the 200 that are read"),
    "array of negative size": ("a.npy", _array_header("(-4, 6)"), "save one map"),
    "array of one axis": ("a.npy", PLANE[0], "save one map"),
    "array of four axes": ("a.npy", PLANE[None, None], "save one map"),
    "array of no pixels": ("a.npy", PLANE[:0], "save one map"),
    "array header that calls": ("a.npy", _array_header("(4, 6)", "__import__('os')"), "as a NumPy array"),
    "PNG of 900 megapixels": ("a.png", _png_of(30000, 30000), "900 megapixels, more than the 200"),
    "PNG of no pixels": ("a.png", _png_of(0, 9), "not a readable image"),
    "PNG that is cut short": ("a.png", _encoded(".png", COLOR)[:-30], "not a readable image"),
    "JPEG that is cut short": ("a.jpg", _half(_encoded(".jpg", LARGE)), "not a readable image"),
    "HEIC": ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC image, which is not supported: save"),
    "AVIF": ("a.jpg", b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", "is a AVIF image, which is not supported: save"),
    "a text": ("a.png", b"not an image", "not a readable image"),
    "nothing": ("a.png", b"", "not a readable image"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_reader_takes(tmp_path, name, content, message):
    path = _write(tmp_path / name, content)
    for read in (files.read_image, *(lambda path, r=r: r(path, _photo()) for r in READERS)):
        with pytest.raises(UserError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_too_many_pixels_are_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    """Decoding them takes a minute and gigabytes."""

    def decode(*_, **__):
        raise AssertionError("decoded")

    path = _write(tmp_path / "a.png", _png_of(30000, 30000))
    monkeypatch.setattr(cv2, "imdecode", decode)
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", decode)
    for read in (files.read_image, *(lambda path, r=r: r(path, _photo()) for r in READERS)):
        with pytest.raises(UserError, match="900 megapixels"):
            read(path)


READERS = (files.read_labels, files.read_depth, files.read_normals)
JPEG = _encoded(".jpg", GRAY)
REFUSED_AS = {
    "labels as JPEG": (files.read_labels, "a.png", JPEG, "is a JPEG, which blurs labels"),
    "labels as fractions": (files.read_labels, "a.npy", PLANE, "holds fractions"),
    "labels with NaN": (files.read_labels, "a.npy", PLANE * np.nan, "holds fractions"),
    "labels below -1": (files.read_labels, "a.npy", GRAY.astype(int) - 9, "the label -9"),
    "labels beyond 65535": (files.read_labels, "a.npy", GRAY.astype(int) * 999, "the label 229770"),
    "labels in colours": (files.read_labels, "a.png", COLOR, "3 different channels"),
    "depth in colours": (files.read_depth, "a.npy", COLOR, "3 different channels"),
    "depth behind the camera": (files.read_depth, "a.npy", -1 - PLANE, "negative depths alone"),
    "image of depths": (files.read_photo, "a.npy", PLANE * 9, "float32 values that are no image"),
    "image of 16 bits": (files.read_photo, "a.npy", GRAY.astype(np.uint16), "uint16 values that are no image"),
    "image with NaN": (files.read_photo, "a.npy", PLANE * np.nan, "no image"),
    "normals in one channel": (files.read_normals, "a.npy", PLANE, "not a map of finite normals"),
    "normals with NaN": (files.read_normals, "a.npy", NORMALS * np.nan, "not a map of finite normals"),
}


@pytest.mark.parametrize(("read", "name", "content", "message"), REFUSED_AS.values(), ids=REFUSED_AS)
def test_what_a_reader_does_not_take(tmp_path, read, name, content, message):
    path = _write(tmp_path / name, content)
    with pytest.raises(UserError, match=message) as caught:
        read(path) if read is files.read_photo else read(path, _photo())
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_never_ends_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tmp_path):
        for read in (files.read_image, headers.read_header):
            with pytest.raises(UserError, match="a folder or a device"):
                read(path)


def test_the_limit_is_adjustable(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.png", COLOR)
    for limit, message in (
        ("0.00001", "more than the 1e-05 that are read: .*LIM_JAX_MAX_MEGAPIXELS"),
        ("many", "=many is"),
    ):
        monkeypatch.setenv(headers.LIMIT_VARIABLE, limit)
        with pytest.raises(UserError, match=message):
            files.read_image(path)
    monkeypatch.setenv(headers.LIMIT_VARIABLE, "1")
    files.read_image(path)
    _write(path, _png_of(1001, 1000))
    with pytest.raises(UserError, match=r"1\.001 megapixels"):
        files.read_image(path)


# What is seen of [[1, 2], [3, 4], [5, 6]] that is stored with each orientation, as EXIF defines it.
STORED = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)
SEEN = {
    1: [[1, 2], [3, 4], [5, 6]],
    2: [[2, 1], [4, 3], [6, 5]],
    3: [[6, 5], [4, 3], [2, 1]],
    4: [[5, 6], [3, 4], [1, 2]],
    5: [[1, 3, 5], [2, 4, 6]],
    6: [[5, 3, 1], [6, 4, 2]],
    7: [[6, 4, 2], [5, 3, 1]],
    8: [[2, 4, 6], [1, 3, 5]],
}


def _oriented(path: pathlib.Path, values: np.ndarray, orientation: int) -> pathlib.Path:
    image = PIL.Image.fromarray(values)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))
    return path


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize(("orientation", "seen"), SEEN.items())
def test_every_reader_turns_a_file_as_it_says(tmp_path, orientation, seen, ending):
    lossless = ending in (".png", ".tif")
    blocks = np.kron(STORED, np.ones((16, 16), np.uint8)) * 40
    path = _oriented(tmp_path / f"a{ending}", blocks, orientation)
    photo = files.read_photo(path)
    assert photo.orientation == orientation
    np.testing.assert_allclose(photo.pixels[8::16, 8::16, 0] / 40, seen, atol=0.1)
    header = headers.read_header(path)
    assert (header.pixels, header.orientation) == (blocks.size, orientation)
    if lossless:
        labels = files.read_labels(path, _photo(photo.pixels.shape[:2]))  # of a photo that is upright
        np.testing.assert_array_equal(labels[8::16, 8::16] / 40, seen)
        np.testing.assert_array_equal(files.read_labels(path, photo), labels)


TURNED_READERS = {
    "labels": (files.read_labels, "a.png", lambda read: read),
    "labels as npy": (files.read_labels, "a.npy", lambda read: read),
    "depth": (files.read_depth, "a.png", lambda read: read.metres),
    "masks": (lambda path, photo: files.read_binary(path, photo), "a.png", lambda read: read),
}


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize(("orientation", "seen"), SEEN.items())
@pytest.mark.parametrize(("read", "name", "values"), TURNED_READERS.values(), ids=TURNED_READERS)
def test_targets_are_turned_with_their_image(tmp_path, read, name, values, orientation, seen, square):
    """A target without EXIF was made for the pixels as stored, unless its shape says otherwise."""
    stored, seen = STORED, np.array(seen)
    if square:
        stored = np.pad(stored, ((0, 0), (0, 1)))
        seen = decoding.upright(stored, orientation)
    factor = 42 if read is TURNED_READERS["masks"][0] else 1
    photo = _photo(seen.shape, orientation)
    path = _write(tmp_path / name, stored * np.uint8(factor))
    expected = seen * factor > 127 if factor > 1 else seen
    np.testing.assert_array_equal(values(read(path, photo)), expected)
    if not square and orientation >= 5:
        path = _write(tmp_path / name, np.ascontiguousarray(seen * factor, np.uint8))
        np.testing.assert_array_equal(values(read(path, photo)), expected)


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize("own", [False, True])
def test_normals_turn_with_their_pixels(tmp_path, orientation, own):
    """A plane's normal, from its depth, is the same whether the depth or the normals are turned."""
    rows, columns = np.mgrid[:24, :24]
    depth = (9 + 0.3 * columns - 0.11 * rows).astype(np.float32)

    def normal(depth):
        """Of an orthographic camera: x right, y into the scene, z up."""
        down, right = np.gradient(depth)
        n = np.stack([right, -np.ones_like(depth), -down], axis=-1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    expected = normal(decoding.upright(depth, orientation))
    stored = normal(depth).astype(np.float32)
    if own:
        picture = np.round((stored + 1) * 127.5).astype(np.uint8)
        path, photo = _oriented(tmp_path / "a.png", picture, orientation), _photo((24, 24))
    else:
        path, photo = _write(tmp_path / "a.npy", stored), _photo((24, 24), orientation)
    np.testing.assert_allclose(files.read_normals(path, photo), expected, atol=0.01)
