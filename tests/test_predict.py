"""Any images in, pictures and arrays out: through the command line, and the predictor against evaluation's."""

import csv
import json
import subprocess
import sys

import cv2
import jax
import numpy as np
import PIL.Image
import pytest

from lim_jax import config as config_lib
from lim_jax import predict
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.figures import pictures
from lim_jax.prediction import evaluation, image_files
from lim_jax.prediction import predictor as prediction
from tests import untrained
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

SIZE = (32, 40)
CLASSES = ("wall", "floor", "chair", "very long name of a piece of furniture")
SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", CLASSES),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}


@pytest.fixture(scope="module")
def trained():
    return untrained.make(config_lib.checked(tiny_config("")), SPECS)


@pytest.fixture(scope="module")
def workdir(trained, tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("run"), config_lib.checked(tiny_config("")), trained)


def photograph(height, width, seed=0):
    """Smooth random colours: what an image of any size may look like."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def predicted(workdir, output, images, **options):
    """Runs the verb without its flags."""
    return predict.predict_files(workdir, [str(image) for image in images], output, raw=True, **options)


def test_the_command_line(workdir, tmp_path):
    """One run on a folder of everything that people have; TensorFlow and TFDS stay out of it."""
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), photograph(60, 90))
    cv2.imwrite(str(folder / "a.png"), photograph(17, 200, seed=1))
    cv2.imwrite(str(folder / "b.png"), photograph(*SIZE, seed=2))
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:500])
    code = (
        "import atexit, runpy, sys;"
        "atexit.register(lambda: print('imported', {'tensorflow', 'tensorflow_datasets', 'clu'} & set(sys.modules)));"
        "runpy.run_module('lim_jax.predict', run_name='__main__', alter_sys=True)"
    )
    flags = [f"--workdir={workdir}", f"--images={folder},{tmp_path / 'missing.jpg'}", f"--output={output}", "--raw"]
    run = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=True)
    assert "3 images predicted, 2 skipped" in run.stdout and "imported set()" in run.stdout
    skipped = [line for line in run.stderr.splitlines() if "skipped" in line]
    assert len(skipped) == 2 and "broken.png" in skipped[0] + skipped[1] and "missing.jpg" in skipped[0] + skipped[1]
    assert (
        "Traceback" not in run.stderr and len(run.stderr.splitlines()) == 4
    )  # two more: what is done, the first image
    endings = ["_segmentation.png", "_depth.png", "_depth_16bit.png", "_normals.png"]
    endings += ["_overlay.png", "_panel.png", ".npz"]
    wanted = {name + ending for name in ("a", "a_2", "b") for ending in endings}
    legends = {f"{name}_legend.png" for name in ("segmentation", "depth", "normals")}
    tables = {"card.json", "predictions.csv", "predictions.jsonl"}
    assert {path.name for path in output.iterdir()} == wanted | legends | tables
    rows = list(csv.DictReader((output / "predictions.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["a", "a_2", "b"]
    scale = json.loads((output / "card.json").read_text())["tasks"]["depth"]["scale"]
    for row, (name, shape) in zip(rows, (("a", (60, 90)), ("a_2", (17, 200)), ("b", SIZE)), strict=True):
        for task in ("segmentation", "depth", "normals"):
            assert cv2.imread(str(output / f"{name}_{task}.png")).shape == (*shape, 3)
        with np.load(output / f"{name}.npz") as raw, PIL.Image.open(output / f"{name}_segmentation.png") as stored:
            np.testing.assert_array_equal(np.asarray(stored), raw["segmentation"])
            depth = cv2.imread(str(output / f"{name}_depth_16bit.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_allclose(depth * scale, raw["depth"], atol=1e-5)
            assert float(row["smiling_probability"]) == pytest.approx(float(raw["smiling"]), abs=1e-6)
            assert row["smiling"] == ("yes" if raw["smiling"] > 0.5 else "no")
        with np.load(output / f"{name}.npz") as raw:
            assert raw["segmentation"].dtype == np.uint8 and raw["segmentation"].shape == shape
            assert raw["depth"].dtype == np.float32 and raw["depth"].shape == shape
            np.testing.assert_allclose(np.linalg.norm(raw["normals"], axis=-1), np.ones(shape), atol=1e-5)
            assert 0 < raw["smiling"] < 1 and raw["smiling"].shape == ()
            assert tuple(raw["segmentation.class_names"]) == CLASSES and "farthest" in str(raw["depth.meaning"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        (["missing.jpg"], r"none .*missing\.jpg"),
        (["notes.txt"], r"none .*notes\.txt"),
        (["*.bmp"], "matches no file"),
        (["empty"], "folder without images"),
    ],
)
def test_nothing_to_predict(workdir, tmp_path, images, message):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        predicted(workdir, tmp_path / "out", [tmp_path / image for image in images])


@pytest.mark.parametrize("size", ["0,64", "64", "a,b", "8,8", "64,64,3"])
def test_a_size_that_makes_no_sense(workdir, tmp_path, size):
    cv2.imwrite(str(tmp_path / "a.png"), photograph(20, 20))
    with pytest.raises(UserError, match="--image_size"):
        predicted(workdir, tmp_path / "out", [tmp_path / "a.png"], image_size=size)


def test_results_do_not_go_where_images_come_from(workdir, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), photograph(20, 20))
    with pytest.raises(UserError, match="another --output"):
        predicted(workdir, tmp_path, [tmp_path])


def test_every_kind_of_file(workdir, tmp_path):
    """The same picture gives the same prediction, whatever it is stored as."""
    rgb = PIL.Image.fromarray(photograph(40, 56))
    turned = rgb.transpose(PIL.Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # orientation: to be shown turned clockwise by a quarter
    stored = {
        "grey.png": rgb.convert("L"),
        "opaque.png": rgb.convert("RGBA"),
        "palette.png": rgb.convert("P"),
        "turned.png": turned,
        "web.webp": rgb,
        "tiff.tiff": rgb,
    }
    options = {"turned.png": {"exif": exif}, "web.webp": {"lossless": True}}
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, image in stored.items():
        image.save(tmp_path / name, **options.get(name, {}))
        shown = rgb if name == "turned.png" else image
        shown.convert("RGB").save(plain / f"{name.split('.')[0]}.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.asarray(rgb)[..., ::-1].astype(np.uint16) * 257)
    rgb.save(plain / "deep.png")
    assert predicted(workdir, tmp_path / "out", [tmp_path / "*.*"]) == len(stored) + 1
    predicted(workdir, tmp_path / "plain_out", [plain])
    for path in plain.iterdir():
        found, expected = (np.load(tmp_path / folder / f"{path.stem}.npz") for folder in ("out", "plain_out"))
        for task in SPECS:
            np.testing.assert_array_equal(found[task], expected[task], err_msg=path.stem)


def test_images_of_the_networks_size_are_predicted_as_in_evaluation(trained):
    images = np.stack([photograph(*SIZE, seed=seed) for seed in range(3)])
    expected = evaluation.predictor(trained.network, SIZE)(trained.variables, images)
    predictor = prediction.Predictor(trained.network, trained.variables, SIZE, batch_size=3)
    for index, found in enumerate(predictor(list(images))):
        assert list(found) == list(SPECS)
        for task, values in found.items():
            np.testing.assert_array_equal(values, np.asarray(expected[task])[index])


@pytest.fixture(scope="module")
def fixed(trained):
    """Resizes to the network's size."""
    return prediction.Predictor(trained.network, trained.variables, SIZE, batch_size=4)


@pytest.fixture(scope="module")
def native(trained):
    """Takes images as they are."""
    return prediction.Predictor(trained.network, trained.variables, None, batch_size=2)


@pytest.fixture(scope="module")
def logits(trained):
    return jax.jit(trained.network.logits)


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        *(("fixed", size) for size in [(1, 1), (17, 200), (200, 17), (31, 40), (129, 300), (16, 600)]),
        *(("native", size) for size in [(1, 1), (17, 32), (150, 300)]),
    ],
)
def test_upsampling(trained, logits, mode, size, request):
    """Every pixel reads the map where its own centre lies, whatever tiles it is computed in."""
    image = photograph(*size)
    predictor = request.getfixturevalue(mode)
    item = predictor.prepare(image)
    maps = {name: np.asarray(v[0], np.float64) for name, v in logits(trained.variables, item.pixels[None]).items()}
    found = predictor([image])[0]
    axes = []
    for pixels, seen in zip(size, item.pixels.shape[:2], strict=True):
        scale = 1.0 if mode == "native" else seen / pixels
        axes.append([((i + 0.5) * scale - 0.5) / 8 for i in range(pixels)])

    def read(maps):
        for axis, positions in enumerate(axes):
            p = np.clip(positions, 0, maps.shape[axis] - 1)
            low = np.minimum(p.astype(int), max(maps.shape[axis] - 2, 0))
            high = np.minimum(low + 1, maps.shape[axis] - 1)
            share = (p - low).reshape([-1 if a == axis else 1 for a in range(3)])
            maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, high, axis) * share
        return maps

    np.testing.assert_allclose(found["depth"], read(1 / (1 + np.exp(-maps["depth"])))[..., 0], atol=1e-5)
    vectors = read(np.tanh(maps["normals"]))
    np.testing.assert_allclose(found["normals"], vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), atol=1e-4)
    values = read(maps["segmentation"])
    chosen = np.take_along_axis(values, found["segmentation"][..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, values.max(axis=-1), atol=1e-5 * np.abs(values).max())
    np.testing.assert_allclose(found["smiling"], jax.nn.sigmoid(maps["smiling"][0]), rtol=1e-4)


def test_one_program_per_bucket(trained, fixed):
    sides = [(40, 50), (64, 64), (20, 20), (33, 64), (64, 50), (40, 40)]
    predictor = prediction.Predictor(trained.network, trained.variables, None, batch_size=2)
    images = [photograph(*size, seed=index) for index, size in enumerate(sides)]
    for _ in range(2):
        found = predictor(images)
        assert [values["depth"].shape for values in found] == sides
        assert predictor._cells._cache_size() == 2  # 64×64, the last batch padded, and 32×32
    before = fixed._cells._cache_size()
    fixed([photograph(50, 60 + extra) for extra in range(9)])
    fixed([photograph(90 + extra, 41) for extra in range(9)])
    assert fixed._cells._cache_size() <= before + 1


@pytest.mark.parametrize(
    ("pixels", "side"), [(1, 32), (32, 32), (33, 64), (480, 480), (512, 512), (513, 576), (1025, 1152), (4000, 4096)]
)
def test_bucket_sides(pixels, side):
    assert prediction.bucket_side(pixels) == side


def test_the_batch_changes_nothing_that_one_could_see(trained, fixed):
    images = [photograph(40 + index, 50, seed=index) for index in range(5)]
    one_by_one = [fixed([image])[0] for image in images]
    for a, b in zip(fixed(images), one_by_one, strict=True):
        np.testing.assert_allclose(a["depth"], b["depth"], atol=1e-5)
        assert np.mean(a["segmentation"] == b["segmentation"]) > 0.99


@pytest.mark.parametrize(
    ("files", "endings", "names"),
    [
        (["x/k.jpg", "y/k.png", "K.jpg"], ["_depth.png"], ["k", "k_2", "K_3"]),
        (["a.jpg", "a_not.jpg"], ["_smiling.png", "_not_smiling.png"], ["a", "a_not_2"]),
        (["out/a_depth.png", "out/a.png"], ["_depth.png"], ["a_depth", "a_2"]),
        (["depth.jpg"], ["_legend.png"], ["depth_2"]),
    ],
)
def test_no_result_overwrites_another_one(tmp_path, files, endings, names):
    paths = [tmp_path / file for file in files]
    assert image_files.result_names(paths, tmp_path / "out", endings, ["depth_legend.png"]) == names


def test_files_folders_and_patterns(tmp_path):
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for hidden in (".thumbnails", "out"):
        (tmp_path / "in" / hidden).mkdir()
    for name in ("in/b.PNG", "in/a.jpg", "in/notes.txt", "in/deeper/c.png", "in/.thumbnails/a.png", "in/out/a.png"):
        (tmp_path / name).write_bytes(b"")
    names = [tmp_path / "in", tmp_path / "in" / "a.jpg", tmp_path / "in" / "**" / "*.png", tmp_path / "*.bmp"]
    found, problems = image_files.find(map(str, names[:2]), tmp_path / "in" / "out")
    assert [path.name for path in found] == ["a.jpg", "b.PNG", "c.png"] and not problems
    found, problems = image_files.find(map(str, names[2:]))
    assert sorted(path.name for path in found) == ["a.png", "c.png"]
    assert len(problems) == 1 and "*.bmp" in problems[0]


def test_a_camera_and_images_are_one_too_many(tmp_path):
    flags = [f"--workdir={tmp_path}", f"--output={tmp_path}", "--camera=0", "--images=a.jpg"]
    result = subprocess.run([sys.executable, "-m", "lim_jax.predict", *flags], capture_output=True, text=True)
    assert result.returncode == 2 and "--camera and --images are both given" in result.stderr


def test_a_video_is_predicted_frame_by_frame(workdir, tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (64, 48))
    for seed in range(3):
        writer.write(photograph(48, 64, seed))
    writer.release()
    again = path.with_suffix(".m4v")
    again.write_bytes(path.read_bytes())
    said = list(predict.predict_frames(workdir, [str(path), str(again)], tmp_path / "out"))
    assert all(line.startswith("3 frames predicted") and "the video has 12.5" in line for line in said)
    assert said[1].endswith("clip_2_predictions.mp4"), "two of one name do not overwrite each other's results"
    assert (tmp_path / "out/clip_2_predictions.mp4").stat().st_size == (
        tmp_path / "out/clip_predictions.mp4"
    ).stat().st_size
    shown = cv2.VideoCapture(str(tmp_path / "out/clip_predictions.mp4"))
    assert shown.get(cv2.CAP_PROP_FPS) == 12.5 and shown.read()[1].shape == (480, 4 * 640, 3)
    rows = [json.loads(line) for line in (tmp_path / "out/clip_predictions.jsonl").read_text().splitlines()]
    assert [row["seconds"] for row in rows] == [0.0, 0.08, 0.16]
    assert {"yes", "no"} >= {row["smiling"] for row in rows}
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match="cannot be opened"):
        list(predict.predict_frames(workdir, [str(path)], tmp_path / "out"))


def test_the_panel_shows_everything(trained):
    tasks = trained.network.tasks
    rng = np.random.default_rng(0)
    image = pictures.reduced(photograph(60, 90))
    values = {
        "segmentation": rng.choice([0, 3], (60, 90)).astype(np.uint8),
        "depth": rng.uniform(0.1, 1, (60, 90)).astype(np.float32),
        "normals": np.full((60, 90, 3), 3**-0.5, np.float32),
        "smiling": np.float32(0.7),
    }
    dense = {name: pictures.task_picture(tasks[name], values[name], (60, 90)) for name in values if name != "smiling"}
    panel = pictures.panel(image, tasks, values, dense)
    colors = {tuple(color) for color in panel.reshape(-1, 3)}
    shown = [tuple(color) for color in tasks["segmentation"].colors]
    assert shown[0] in colors and shown[3] in colors and shown[1] not in colors
    assert 1 < panel.shape[1] / panel.shape[0] < 2.5
    only = pictures.panel(image, {"smiling": tasks["smiling"]}, values, {})
    assert only.shape[0] > image.pixels.shape[0]
    over = pictures.overlay(image, tasks["segmentation"], values["segmentation"], dense["segmentation"])
    assert over.shape == image.pixels.shape


def test_a_prediction_says_what_its_numbers_are(trained):
    assert all(task.meaning for task in trained.network.tasks.values())
    assert "0.5" in trained.network.tasks["smiling"].meaning
