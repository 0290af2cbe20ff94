"""Every parser of bench with inputs of its own, each a function that reads one damaged input.

A target is `prepare(folder) -> read(random)`. What `read` raises beside InputError is a fault.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import sys
import tarfile
from dataclasses import asdict

import numpy as np
import yaml

from bench.core import extensions, probe_record, record, tables
from bench.core.cell import expand
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import suite
from bench.system import influences
from bench.system.runs import find_run, read_run
from bench.verdicts import baseline, certificate, margins, thresholds
from fuzz import mutations


def dumps(value):
    return json.dumps(value)


def as_yaml(value):
    try:
        return yaml.safe_dump(value)
    # Of the writer, which is not what is tried here.
    except RecursionError:
        return "[" * 900


def runs(folder):
    """run.json in every format, against itself undamaged in every format, and as a history."""
    from helpers import canned_run

    from bench.report import FORMATS, comparison, history
    from bench.report.index import index
    from bench.system.runs import LoadedRun
    from bench.verdicts import gate
    from bench.verdicts.comparison import compare
    from bench.verdicts.history import histories

    base = canned_run.run()
    whole = record.to_json(base)
    known = list(mutations.places(json.loads(whole)))
    limits = thresholds.load()
    path = folder / "run.json"
    count = 0

    def read(random):
        nonlocal count
        count += 1
        if random.random() < 0.8:
            content = dumps(mutations.values(json.loads(whole), random, known)).encode()
        else:
            content = mutations.data(whole.encode(), random)
        path.write_bytes(content)
        run = read_run(path)
        for render in FORMATS.values():
            render(run, folder)
        sides = LoadedRun("a", base, {}), gate.loaded_run(folder, str(path))
        for pair in (sides, sides[::-1]):
            compared = compare(*pair, limits)
            for render in comparison.FORMATS.values():
                render(compared, (), compared.code())
        several = [base, base, base, base, run]
        history.table_of(several, histories(several, 5, limits))
        (folder / "reports" / "one").mkdir(parents=True, exist_ok=True)
        (folder / "reports" / "one" / "run.json").write_bytes(content)
        index(folder / "reports")

    return read


def figures(folder):
    """What is drawn of a run and of its history."""
    from helpers import canned_run

    from bench.report import draw
    from bench.report.figures import history
    from bench.verdicts.history import histories

    base = canned_run.run()
    canned_run.write_samples(base, folder)
    whole = record.to_json(base)
    known = list(mutations.places(json.loads(whole)))

    def read(random):
        data = mutations.values(json.loads(whole), random, known)
        run = record.run_from_json(dumps(data))
        draw(run, folder)
        several = [base, run, run, run]
        if random.random() < 0.2:
            history.draw(histories(several, 4, thresholds.load())[:3], folder)

    return read


def cached(folder):
    """Records, coverages and parts of probes as the cache holds them: a ValueError is a miss."""
    from helpers import canned_run
    from report import test_probe_page

    texts = [
        (record.record_from_json, record.to_json(canned_run.run().records[2])),
        (record.coverage_from_json, record.to_json(canned_run.run().records[2].coverage)),
        (probe_record.part_from_json, probe_record.part_to_json(test_probe_page.FOUND.parts[0])),
    ]

    def read(random):
        parse, text = random.choice(texts)
        if random.random() < 0.7:
            text = dumps(mutations.values(json.loads(text), random))
        else:
            text = mutations.text(text, random)
        try:
            parse(text)
        except ValueError:
            raise InputError from None

    return read


def probed(folder):
    """probes.json as a page, with figures for some."""
    from helpers import canned_run
    from report import test_probe_page

    from bench.report import probe_page

    whole = probe_record.to_json(test_probe_page.FOUND)
    run = canned_run.run()
    path = folder / probe_record.FILE

    def read(random):
        data = mutations.values(json.loads(whole), random)
        content = dumps(data).encode()
        path.write_bytes(mutations.data(content, random) if random.random() < 0.2 else content)
        found = probe_record.read(path)
        probe_page.markdown(found, run, folder)
        if random.random() < 0.1:
            probe_page.probes.draw(found, folder / "figures")

    return read


def suites(folder):
    whole = (suite.FOLDER / "fashion-mnist.yaml").read_text()
    path = folder / "own.yaml"

    def read(random):
        if random.random() < 0.5:
            text = as_yaml(mutations.values(yaml.safe_load(whole), random))
        else:
            text = mutations.text(whole, random)
        path.write_text(text, errors="surrogatepass")
        suite.find(str(path))

    return read


def cards(folder):
    from helpers.tiny import write_card

    from bench.models.cards import load_cards, verify

    entry = write_card(folder)
    whole = yaml.safe_dump({"checkpoints": [entry]})
    path = folder / "checkpoints.yaml"

    def read(random):
        if random.random() < 0.5:
            text = as_yaml(mutations.values(yaml.safe_load(whole), random))
        else:
            text = mutations.text(whole, random)
        path.write_text(text, errors="surrogatepass")
        for card in load_cards(path):
            verify(card)

    return read


def limits(folder):
    whole = thresholds.SHIPPED.read_text()
    path = folder / "limits.toml"

    def read(random):
        path.write_bytes(mutations.data(mutations.text(whole, random).encode(), random))
        for entry in thresholds.read(path):
            entry.size(1e9)
            entry.matches("psnr", "a", "w4a8")

    return read


def baselines(folder):
    line = json.dumps(asdict(baseline.Pin("20260101T000000Z-0123abcd", "why", "2026-01-01")))
    whole = f"{line}\n{line}\n"
    path = folder / baseline.NAME
    (folder / "20260101T000000Z-0123abcd").mkdir()
    (folder / "20260101T000000Z-0123abcd" / "run.json").write_text("{}")

    def read(random):
        path.write_bytes(mutations.data(whole.encode(), random))
        if baseline.pins(folder):
            baseline.pinned(folder)

    return read


def certificates(folder):
    """Certificates, and the run that they are held against."""
    from helpers.gates import side

    of = side()
    whole_run = record.to_json(of.run)
    (folder / "run.json").write_text(whole_run)
    influences.save(folder / influences.NAME, of.influences)
    made = certificate.certify(folder, "delta_kd_efficientnet", "3%")
    whole, path = certificate.to_json(made), folder / "certificate.json"

    def read(random):
        content = dumps(mutations.values(json.loads(whole), random)).encode()
        path.write_bytes(mutations.data(content, random) if random.random() < 0.3 else content)
        certificate.differences(certificate.read(path), folder)

    return read


def prompted(folder):
    """Prompts as .csv and as .jsonl."""
    from bench.measurement.data import prompts

    names = ["a", "b/c"]
    rows = "".join(f'{name}.png,"a cat, ""big"" or\nsmall",1\r\n' for name in names)
    lines = "".join(dumps({"name": name, "prompt": "größer"}) + "\n" for name in names)
    wholes = {"p.csv": "name,prompt,seed\r\n" + rows, "p.jsonl": lines}

    def read(random):
        name = random.choice(list(wholes))
        content = mutations.text(wholes[name], random).encode(errors="surrogatepass")
        (folder / name).write_bytes(mutations.data(content, random))
        prompts.digest(prompts.read(folder / name, names))

    return read


class Tiny:
    dim, version = 4, 1


def archives(folder):
    """Statistics and influences."""
    from bench.measurement.features import statistics_files

    tables.EXTRACTORS["tiny"] = "fuzz.parsers:Tiny"
    stream, odd = (
        io.BytesIO(),
        [np.eye(4), np.arange(4), np.zeros(4, "U3"), np.array("x"), -np.eye(4)],
    )
    odd += [np.full((4, 4), np.nan), np.eye(4) * 1j, np.array(3), np.zeros(0), np.float16([1])]
    np.savez(stream, mu=np.zeros(4), sigma=np.eye(4), extractor="tiny", version="1", count="5")
    whole = stream.getvalue()
    path = folder / influences.NAME

    def read(random):
        if random.random() < 0.5:
            path.write_bytes(mutations.data(whole, random))
        else:
            names = ("mu", "sigma", "extractor", "version", "count", "x")
            arrays = {"mu": np.zeros(4), "sigma": np.eye(4)}
            arrays |= {random.choice(names): random.choice(odd) for _ in range(3)}
            np.savez(path, **arrays)
        with contextlib.suppress(InputError):
            influences.load(path)
        statistics_files.read(path, "tiny")

    return read


def references(folder):
    from safetensors.numpy import save

    from bench.measurement.features import reference

    digest = hashlib.sha256(np.ones((5, 4), np.float16).tobytes()).hexdigest()
    metadata = {"extractor": "tiny", "version": "1", "sha256": digest, "count": "5"}
    metadata |= {"shape": "1x28x28"}
    whole = save({"features": np.ones((5, 4), np.float16)}, metadata)
    path = folder / "x.safetensors"

    def read(random):
        content = mutations.data(whole, random)
        if random.random() < 0.5:
            changed = metadata | {random.choice(list(metadata)): mutations.text("12", random)}
            kind = random.choice((np.float16, np.int8, np.bool_, np.float64))
            shape = random.choice(((5, 4), (5,), (0, 4), ()))
            content = save({random.choice(("features", "x")): np.ones(shape, kind)}, changed)
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            reference._whole(
                path, "count", reference._metadata(path, reference._stamp(path)).get("count", "0")
            )
        reference.read.__wrapped__(path, 1)

    return read


def schemes(folder):
    texts = ("w8a8", "w4a8+all", "w4a8+skip-io", "w3a16", "w4a8+minmax+skip=unet.conv_in", "fp32")

    def read(random):
        scheme = Scheme.parse(mutations.text(random.choice(texts), random))
        if Scheme.parse(str(scheme)) != scheme:
            raise AssertionError(str(scheme))
        scheme.explain()

    return read


def recipes(folder):
    from bench.models.training.recipes import RECIPES

    recipe = RECIPES["fashion-unet"]
    names = [*recipe.to_dict(), "network.unet.dropout", "network.patch"]
    texts = ("0.5", "[0.9, 0.99]", "3", "{a: [1, 2]}", "cosine", "true", "1e-3")

    def read(random):
        name = random.choice(names)
        name = mutations.text(name, random) if random.random() < 0.2 else name
        changed = recipe.changed({name: mutations.text(random.choice(texts), random)})
        changed.rate(1)
        json.dumps(changed.to_dict(), allow_nan=False)

    return read


def words(folder):
    """Words of flags: --fail-on, --skip, --metrics, --precision, --real, names of everything."""
    from helpers import canned_run

    from bench.evaluation import planning, sequential, skip_lists

    cells = expand(
        [canned_run.checkpoint("ema")], [Scheme.parse("w4a8")], ["simulated"], canned_run.Draw()
    )
    reads = (
        (lambda w: thresholds.load(words=[w]), ("psnr", "kd_*:0.5", "ssim:5%", "fd:1e3")),
        (lambda w: skip_lists.beside(cells, w, folder), ("unet.conv_in", "a,b*", "from-probe:x")),
        (lambda w: planning.scoring(w.split(","), (), "test"), ("efficientnet", "clip,dinov2")),
        (lambda w: planning.scoring((), w.split(","), "test"), ("+kernel", "psnr,ssim")),
        (lambda w: planning.scoring((), (), w), ("test",)),
        (lambda w: planning.schemes(None, [w]), ("w4a8", "w8a8")),
        (lambda w: planning.preset(w), ("smoke", "default")),
        (lambda w: margins.named(w), ("kd_efficientnet:3%", "delta_fd:0.5")),
        (lambda w: find_run(folder, w), ("20260101T000000Z-0123abcd", "baseline")),
        (lambda w: suite.find(w), ("cifar10", "ffhq")),
        (lambda w: extensions.lookup("datasets", w), ("folder:/x", "cifar10")),
        (
            lambda w: extensions.lookup("datasets", f"folder:{folder}/{w.replace('..', '.')}")(
                "test"
            ),
            ("x@64", "x", "c.zip"),
        ),
        (lambda w: sequential.stopping_rule(float(w), cells), ("0.5", "2e3")),
    )

    def read(random):
        call, texts = random.choice(reads)
        word = mutations.text(random.choice(texts), random)
        if call is reads[-1][0]:
            try:
                float(word)
            # Typer's own refusal.
            except ValueError:
                raise InputError from None
        call(word)

    return read


def commands(folder):
    """Words of the command line itself: every end but an exit code is a fault."""
    from helpers import canned_run

    from bench.cli import app
    from bench.models.training import cards as training

    # Importing torch for the first time is no reading of an input.
    assert training
    run = canned_run.run()
    place = folder / "reports" / run.id
    place.mkdir(parents=True)
    (place / "run.json").write_text(record.to_json(run))
    out = ("--out", str(folder / "reports"))
    lines = (
        ("report", "{}", *out), ("report", run.id, "--format", "{}", *out),
        ("compare", "{}", run.id, *out), ("compare", run.id, run.id, "--fail-on", "{}", *out),
        ("compare", run.id, run.id, "--allow", "{}", *out), ("compare", run.id, "{}", *out),
        ("compare", run.id, run.id, "--thresholds", "{}", *out),
        ("compare", run.id, run.id, "--format", "{}", *out),
        ("certify", "{}", *out), ("certify", run.id, "--margin", "{}", *out),
        ("certify", "--check", "{}", *out),
        ("history", "--metric", "{}", *out), ("history", "--last", "{}", *out),
        ("baseline", "accept", "{}", "--reason", "x", *out), ("baseline", "show", "--out", "{}"),
        ("list", "--cards", "{}"), ("check", "--cards", "{}"), ("check", "--checkpoints", "{}"),
        ("run", "--scheme", "{}", "--checkpoints", "none"), ("run", "--bits", "{}", "--dry-run"),
        ("run", "--suite", "{}"), ("run", "--metrics", "{}", "--checkpoints", "none"),
        ("run", "--preset", "{}"), ("run", "--device", "{}"), ("run", "--backend", "{}"),
        ("run", "--precision", "{}", "--checkpoints", "none"), ("{}",),
        ("probe", "--probes", "x{}"), ("train", "--recipe", "{}"), ("import", "{}"), ("speed", "--checkpoint", "{}"),
        ("reference", "{}", "efficientnet"), ("reference", "cifar10", "{}"), ("fetch", "{}"),
    )  # fmt: skip

    def read(random):
        line = random.choice(lines)
        word = mutations.text(random.choice(("psnr", "a", "1", run.id, "w4a8")), random)
        sys.argv = ["bench", *(part.replace("{}", word) for part in line)]
        # What the system itself would not take as a word.
        if any("\0" in part for part in sys.argv):
            raise InputError
        streams = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            try:
                app.main()
            except SystemExit as stopped:
                if stopped.code in (0, 1, 2, 3):
                    raise InputError from None
                raise AssertionError(
                    f"exit code {stopped.code}: {streams[1].getvalue()}"
                ) from None

    return read


def datasets(folder):
    """CIFAR-10, IDX, and folders and archives of images."""
    from helpers.pictures import encode, flat, write_zip

    from bench.measurement.data import cifar10, fashion_mnist
    from bench.measurement.data import folder as folders

    cifar10.PER_BATCH = 2
    os.environ["BENCH_CACHE"] = str(folder / "cache")
    pixels = np.zeros((2, 3072), np.uint8)
    pickled = pickle.dumps({b"data": pixels, b"labels": [1, 2]}, 2)
    binary = 2 * (b"\1" + bytes(3072))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.size = len(binary)
        archive.addfile(member, io.BytesIO(binary))
    tar = stream.getvalue()
    idx = b"\0\0\x08\x03" + (2).to_bytes(4, "big") + 2 * (28).to_bytes(4, "big") + bytes(2 * 784)
    encoded = [encode(flat(1, (6, 6)), form) for form in ("PNG", "JPEG", "WEBP", "BMP")]
    zipped = write_zip(folder / "c.zip", {f"{k:02d}.png": encoded[0] for k in range(10)})
    whole = zipped.read_bytes()

    def read(random):
        how = random.randrange(6)
        path = folder / "file"
        if how == 0:
            cifar10.parse_pickle(mutations.data(pickled, random), "x")
        elif how == 1:
            cifar10.parse_binary(mutations.data(binary, random), "x")
        elif how == 2:
            path.write_bytes(mutations.data(tar, random))
            cifar10._read_tar(path, "cifar-10-batches-bin", ["test_batch.bin"])
        elif how == 3:
            damaged = mutations.data(idx, random)
            compressed = gzip.compress(damaged, 1)
            path.write_bytes(
                compressed if random.random() < 0.7 else mutations.data(compressed, random)
            )
            fashion_mnist.read_idx(path)
        elif how == 4:
            zipped.write_bytes(mutations.data(whole, random))
            folders.load("test", str(zipped))
        else:
            place = folder / "images"
            (place / "test").mkdir(parents=True, exist_ok=True)
            (place / "train").mkdir(exist_ok=True)
            (place / "train" / "a.png").write_bytes(encoded[0])
            (place / "test" / "a.png").write_bytes(mutations.data(random.choice(encoded), random))
            folders.load("test", f"{place}@4" if random.random() < 0.5 else str(place))

    return read


def weights(folder):
    """Files of weights: pickles of odd content, and damaged ones."""
    import torch
    from safetensors.torch import save

    from bench.models.sources import state_dicts as reader

    tensors = {"conv_in.weight": torch.ones(2, 2), "conv_in.bias": torch.zeros(2)}
    inner = (
        tensors,
        {},
        [],
        5,
        "x",
        None,
        {"shadow_params": 5},
        {"shadow_params": list(tensors.values())},
    )
    inner += ({1: torch.ones(1)}, {"a": torch.ones(1).to(torch.float8_e4m3fn)}, torch.ones(2))
    inner += (
        {"a": torch.ones(1).expand(2**10)},
        {"a": {"b": torch.ones(1)}},
        {"a": torch.ones(())},
    )
    inner += ({"a": torch.tensor([float("nan")])}, {"a": torch.ones(1, dtype=torch.complex64)})
    names = (
        "model",
        "ema",
        "state_dict",
        "ema_model",
        "optimizer",
        "module.a",
        "_orig_mod.a",
        "x",
    )
    names += ("ema_state_dict", "model_state_dict", "swa_state_dict", "n_averaged", "decay", "", 3)
    path = folder / "file"

    def read(random):
        found = random.choice(inner)
        if random.random() < 0.7:
            found = {
                random.choice(names): random.choice(inner) for _ in range(random.randrange(4))
            }
        if random.random() < 0.2:
            content = save(tensors)
        else:
            stream = io.BytesIO()
            torch.save(found, stream, _use_new_zipfile_serialization=random.random() < 0.7)
            content = stream.getvalue()
        if random.random() < 0.5:
            content = mutations.data(content, random)
        path.write_bytes(content)
        reader.read(path)

    return read


def headers(folder):
    """safetensors by their headers: names, types, shapes, offsets and the length that is stated."""
    from bench.models.sources import state_dicts as reader

    whole = {"__metadata__": {"format": "pt"}}
    whole |= {
        name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * k, 16 * k + 16]}
        for k, name in enumerate(("conv_in.weight", "conv_in.bias"))
    }
    known = list(mutations.places(whole))
    path = folder / "weights.safetensors"

    def read(random):
        text = dumps(mutations.values(json.loads(dumps(whole)), random, known))
        if random.random() < 0.2:
            text = mutations.text(text, random)
        head = text.encode(errors="surrogatepass")
        length = (
            len(head) if random.random() < 0.8 else random.choice((0, 7, 2**31, 2**63, 2**64 - 1))
        )
        content = (
            length.to_bytes(8, "little") + head + bytes(random.choice((32, 32, 32, 32, 0, 31, 33)))
        )
        path.write_bytes(mutations.data(content, random) if random.random() < 0.2 else content)
        reader.read(path)

    return read


def zips(folder):
    """Archives of pictures: names that lead elsewhere or are there twice, arrays that lie."""
    import warnings
    import zipfile

    from helpers.pictures import encode, flat

    from bench.measurement.data import pictures

    os.environ["BENCH_CACHE"] = str(folder / "cache")
    names = ("a.png", "b/a.png", "../a.png", "/etc/a.png", "C:\\a.png", ".a.png", "a.jpg", "a.zip")
    names += ("a\0.png", "__MACOSX/a.png", "é.png", "a/", " ", "a" * 3000 + ".png", "a.mp4")
    image = encode(flat(1, (6, 6)), "PNG")
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 6, 6, 3), np.uint8))
    array = stream.getvalue()
    shapes = (
        "(2, 6, 6, 3)",
        "(2**40, 6, 6, 3)",
        "(-1,)",
        "()",
        "(6, 6)",
        "(0, 6, 6, 3)",
        "(True, 2)",
    )

    def read(random):
        is_array = random.random() < 0.5
        path = folder / ("x.npz" if is_array else "x.zip")
        how = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how) as archive:
            warnings.simplefilter("ignore")
            for _ in range(random.randrange(4)):
                if is_array:
                    content = array.replace(b"(2, 6, 6, 3)", random.choice(shapes).encode())
                    content = content.replace(b"|u1", random.choice((b"|u1", b"|O ", b"<f4")))
                    name = random.choice(("a.npy", "b.npy", "../c.npy", "d", " "))
                else:
                    content, name = image, random.choice(names)
                if random.random() < 0.3:
                    content = mutations.data(content, random)
                archive.writestr(name, content)
        if random.random() < 0.5:
            path.write_bytes(mutations.data(path.read_bytes(), random))
        found = pictures.find(path)
        for name in found.names[:3]:
            found.read(name)

    return read


def pipelines(folder):
    """The descriptions in a diffusers folder: index, scheduler, network and decoder."""
    from helpers.folders import save_decoder, save_index, save_unet

    from bench.models.sources import described

    place = folder / "model"
    save_unet(place, in_channels=4, out_channels=4)
    save_decoder(place)
    named = {"unet": "UNet2DModel", "scheduler": "DDPMScheduler", "vae": "AutoencoderKL"}
    save_index(place, "LDMPipeline", **{k: ["diffusers", v] for k, v in named.items()})
    names = ("model_index.json", "scheduler/scheduler_config.json")
    names += ("unet/config.json", "vae/config.json")
    whole = {name: json.loads((place / name).read_text()) for name in names}
    dit = {"in_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "sample_size": 8}
    networks = [
        whole["unet/config.json"],
        {"_class_name": "DiTTransformer2DModel", "patch_size": 2, **dit},
        {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_zero", **dit},
    ]
    schedulers = ("DDIMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler")

    def read(random):
        contents = dict(whole)
        if random.random() < 0.4:
            contents["unet/config.json"] = random.choice(networks)
            contents["model_index.json"] = {"_class_name": "LDMPipeline"}
        if random.random() < 0.4:
            said = {"_class_name": random.choice(schedulers), "beta_schedule": "linear"}
            contents["scheduler/scheduler_config.json"] = said
        damaged = random.choice(names)
        for name, content in contents.items():
            text = dumps(content)
            if name == damaged and random.random() < 0.8:
                text = dumps(mutations.values(json.loads(text), random))
            elif name == damaged:
                text = mutations.text(text, random)
            (place / name).write_text(text, errors="surrogatepass")
        found = described.describe(place, {"sample_size": 16} if random.random() < 0.1 else {})
        described.kind(found, {})
        if found.classes < 0 or min(found.image) < 1 or not found.noise.alpha_bar.isfinite().all():
            raise AssertionError(str(found))

    return read


# Shares of the inputs of a campaign, less of what takes longer.
TARGETS = {
    runs: 3, figures: 0.1, cached: 10, probed: 1, suites: 4, cards: 4, limits: 10, baselines: 10,
    certificates: 5, prompted: 10,
    archives: 10, references: 6, schemes: 14, recipes: 10, words: 6, commands: 0.6, datasets: 8,
    weights: 6, pipelines: 4, headers: 10, zips: 8,
}  # fmt: skip
