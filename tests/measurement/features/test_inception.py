"""Our Inception features and FID against clean-fid's own pipeline, on random weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import fid, inception_pytorch
from cleanfid.features import build_feature_extractor
from cleanfid.inception_torchscript import InceptionV3W
from helpers import random_inception
from PIL import Image

from bench.core import distances, extensions
from bench.core.errors import InputError
from bench.core.protocols import Statistics
from bench.measurement.features import inception, moments, statistics_files
from bench.measurement.metrics import frechet

MODES = {
    "clean": "inception",
    "legacy_pytorch": "inception-legacy-pytorch",
    "legacy_tensorflow": "inception-legacy-tensorflow",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return folder, random_inception.write(folder)


@pytest.fixture
def weights(files, monkeypatch):
    """The folder of random weights, taken for the published ones."""
    folder, digests = files
    monkeypatch.setenv(inception.VARIABLE, str(folder))
    monkeypatch.setattr(inception, "SHA256", digests)
    inception.script.cache_clear()
    inception.network.cache_clear()
    yield folder
    inception.script.cache_clear()
    inception.network.cache_clear()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two folders of images of 32 x 32 pixels, as files and as arrays."""
    random, found = np.random.default_rng(0), []
    for name, spread in (("one", 40), ("two", 60)):
        folder = tmp_path_factory.mktemp(name)
        smooth = random.normal(128, spread, (5, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
        images = (smooth + random.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)
        for k, image in enumerate(images):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{k:03d}.png")
        found.append((folder, torch.from_numpy(images)))
    return found


def clean_fid_features(folder, mode, weights, monkeypatch):
    """Features by clean-fid's own code, but for the place of its weights."""
    monkeypatch.setattr(
        "cleanfid.features.InceptionV3W",
        lambda path, download, resize_inside: InceptionV3W(
            str(weights), download=False, resize_inside=resize_inside
        ),
    )
    monkeypatch.setattr(
        inception_pytorch,
        "load_state_dict_from_url",
        lambda url, progress: torch.load(weights / inception.STATE, weights_only=True),
    )
    cpu = torch.device("cpu")
    model = build_feature_extractor(mode, cpu, use_dataparallel=False)
    options = {"num_workers": 0, "batch_size": 3, "device": cpu, "verbose": False}
    with torch.jit.optimized_execution(False):
        return fid.get_folder_features(str(folder), model, mode=mode, **options)


@pytest.mark.parametrize(
    "mode", ["clean", *(pytest.param(m, marks=pytest.mark.slow) for m in list(MODES)[1:])]
)
def test_features_and_fid_are_those_of_clean_fid(mode, weights, pictures, monkeypatch, tmp_path):
    extractor = MODES[mode]
    extract = extensions.lookup("extractors", extractor)()
    ours, theirs = [], []
    for folder, images in pictures:
        parts = [extract(batch).numpy() for batch in images.split(3)]
        ours.append(np.concatenate(parts))
        theirs.append(clean_fid_features(folder, mode, weights, monkeypatch))
    for one, other in zip(ours, theirs, strict=True):
        assert other.std(0).mean() > 0.01
        assert np.abs(one - other).max() <= 1e-6 * np.abs(other).max()
    # clean-fid's matrix root fails on singular covariances: take the 3 dimensions that vary most.
    vary = np.argsort(theirs[0].var(0) * theirs[1].var(0))[-3:]
    few = [[values[:, vary] for values in found] for found in (ours, theirs)]
    mine = frechet.frechet_distance(*moments.statistics(few[0][0]), *moments.statistics(few[0][1]))
    exact = [values.astype(np.float64) for values in few[1]]
    assert mine == pytest.approx(fid.fid_from_feats(*exact), rel=1e-6)
    # As it stands clean-fid takes the means in float32, which tells here: large means, few images.
    assert mine == pytest.approx(fid.fid_from_feats(*few[1]), rel=1e-5)
    # All dimensions, where there is a closed form of our own for both.
    whole = [
        frechet.frechet_distance(*moments.statistics(a), *moments.statistics(b))
        for a, b in (ours, theirs)
    ]
    assert whole[0] == pytest.approx(whole[1], rel=1e-6)
    # Statistics written here are read by clean-fid, and the reverse.
    written = tmp_path / "mine.npz"
    statistics_files.write(written, {extractor: Statistics(*moments.statistics(ours[0]), 5)}, "x")
    monkeypatch.setattr("cleanfid.features.check_download_url", lambda local_folder, url: written)
    mu, sigma = fid.get_reference_statistics("x", 32, mode=mode)
    np.testing.assert_array_equal(mu, moments.statistics(ours[0])[0])
    theirs_file = tmp_path / f"x_{mode}_custom_na.npz"
    np.savez(theirs_file, mu=np.mean(theirs[0], 0), sigma=np.cov(theirs[0], rowvar=False))
    read = statistics_files.read(theirs_file, extractor)
    assert frechet.frechet_distance(read.mu, read.sigma, mu, sigma) == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(read.sigma, sigma, atol=1e-6 * np.abs(sigma).max())


def test_modes_differ_and_grey_images_are_taken(weights, pictures):
    images = pictures[0][1][:2]
    found = {m: extensions.lookup("extractors", e)()(images) for m, e in MODES.items()}
    for mode in ("legacy_pytorch", "legacy_tensorflow"):
        assert (found["clean"] - found[mode]).abs().max() > 1e-3 * found["clean"].abs().max()
    extract = extensions.lookup("extractors", "inception")()
    grey = images[:, :1]
    assert torch.equal(extract(grey), extract(grey.expand(-1, 3, -1, -1)))


def test_resizing_of_tensorflow_1():
    x = torch.tensor([[0.0, 10.0, 20.0]]).expand(3, 3)[None, None]
    rows = inception.tensorflow_resized(x, 6)[0, 0]
    # Positions 0, 0.5, 1, 1.5, 2, 2.5; beyond the last pixel there is none to mix with.
    assert rows[0].tolist() == [0, 5, 10, 15, 20, 20]
    assert torch.equal(inception.tensorflow_resized(x, 3), x)


def test_spatial_features_and_classes(weights, pictures):
    images, net = pictures[0][1][:2], inception.network()
    seen = {}
    hook = net.Mixed_6d.branch1x1.register_forward_hook(lambda m, i, o: seen.update(out=o))
    x = (inception.tensorflow_resized(images) - 128) / 128
    with torch.inference_mode():
        pooled = inception.pooled(net, x)
    hook.remove()
    spatial = extensions.lookup("extractors", "inception-spatial")()(images)
    expected = seen["out"].numpy().transpose(0, 2, 3, 1)[..., :7].reshape(2, -1)
    np.testing.assert_allclose(spatial.numpy(), expected, atol=1e-5)
    assert spatial.shape == (2, 2023)
    classes = extensions.lookup("extractors", "inception-classes")()(images)
    logits = pooled.double() @ net.fc.weight.double().T
    np.testing.assert_allclose(classes, logits.softmax(1), atol=1e-5)
    assert classes.shape == (2, 1008)


def test_weights_that_are_missing_or_other(cache, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="bench fetch inception"):
        extensions.lookup("extractors", "inception")()
    other = tmp_path / inception.SCRIPT
    other.write_bytes(b"not the weights")
    monkeypatch.setenv(inception.VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="another or a damaged file"):
        extensions.lookup("extractors", "inception")()
    with pytest.raises(InputError, match="no weights of Inception"):
        extensions.lookup("extractors", "inception-legacy-pytorch")()


def toy(dim):
    return Statistics(np.zeros(dim), np.eye(dim), 5)


def test_statistics_of_another_extractor(tmp_path):
    path = tmp_path / "few.npz"
    statistics_files.write(path, {"efficientnet": toy(272)}, "x")
    assert statistics_files.read(path, "efficientnet").count == 5
    with pytest.raises(InputError, match="another extractor than inception"):
        statistics_files.read(path, "inception")
    statistics_files.write(path, {"inception": toy(2048)}, "x")
    with pytest.raises(InputError, match="statistics of inception, not of inception-legacy"):
        statistics_files.read(path, "inception-legacy-pytorch")
    foreign = tmp_path / "cifar10_legacy_tensorflow_train_32.npz"
    np.savez(foreign, mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(InputError, match="inception-legacy-tensorflow, not of inception"):
        statistics_files.read(foreign, "inception")
    assert statistics_files.read(foreign, "inception-legacy-tensorflow").count == 0


def test_statistics_of_adm(tmp_path):
    path = tmp_path / "VIRTUAL_lsun.npz"
    both = {"inception-legacy-tensorflow": toy(2048), "inception-spatial": toy(2023)}
    statistics_files.write(path, both, "lsun-tower")
    with np.load(path) as stored:
        assert {"mu", "sigma", "mu_s", "sigma_s"} <= set(stored.files)
    for extractor, known in both.items():
        assert len(statistics_files.read(path, extractor).mu) == len(known.mu)
    np.savez(
        path, mu=np.zeros(2048), sigma=np.eye(2048), mu_s=np.zeros(2023), sigma_s=np.eye(2023)
    )
    assert len(statistics_files.read(path, "inception-spatial").mu) == 2023


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 cut off", "no whole npz"),
        ({"feats": np.zeros((3, 2048))}, "holds no mu and sigma but feats"),
        ({"mu": np.full(2048, np.nan), "sigma": np.eye(2048)}, "NaN"),
        ({"mu": np.array([print], object), "sigma": np.eye(2)}, "no whole npz"),
    ],
)
def test_damaged_statistics(tmp_path, content, words):
    path = tmp_path / "x.npz"
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    with pytest.raises(InputError, match=words):
        statistics_files.read(path, "inception")


def test_names_and_remarks():
    assert distances.frechet("inception") == "fid"
    assert distances.frechet("efficientnet") == "fd_efficientnet"
    assert distances.kernel("inception") == "kid"
    assert "below 2,048" in distances.remarks("inception", 2047)[0]
    assert "50,000" in distances.remarks("inception-spatial", 49_999)[0]
    assert "singular" not in distances.remarks("inception-classes", 5)[0]
    assert distances.remarks("inception", 50_000) == distances.remarks("efficientnet", 5) == []


def test_nothing_is_imported_or_fetched_before_it_is_asked_for():
    code = "import sys; from bench.core import distances, extensions; assert 'cleanfid' not in "
    code += "sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
