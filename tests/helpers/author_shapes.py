"""Names and shapes of the weights of networks by other authors, as their code gives them."""

from __future__ import annotations

import torch

SMALL, LARGE = torch.full((1, 1, 2, 2), 0.25), torch.tensor([1.0, 3, 3, 1]) / 8


def edm_block(inputs, width, rows, change="", taps=SMALL, attends=False, skips=None):
    """Shapes of the weights of a block; the filter of a change is a tensor."""
    embedding = rows[0]
    made = {"norm0.weight": (inputs,), "norm0.bias": (inputs,)}
    made |= {"conv0.weight": (width, inputs, 3, 3), "conv0.bias": (width,)}
    count = width * rows[1]
    made |= {"affine.weight": (count, embedding), "affine.bias": (count,)}
    made |= {"norm1.weight": (width,), "norm1.bias": (width,)}
    made |= {"conv1.weight": (width, width, 3, 3), "conv1.bias": (width,)}
    if change:
        made |= {"conv0.resample_filter": taps, "skip.resample_filter": taps}
    if inputs != width or (change and skips):
        made |= {"skip.weight": (width, inputs, 1, 1), "skip.bias": (width,)}
    if attends:
        made |= {"norm2.weight": (width,), "norm2.bias": (width,)}
        made |= {"qkv.weight": (3 * width, width, 1, 1), "qkv.bias": (3 * width,)}
        made |= {"proj.weight": (width, width, 1, 1), "proj.bias": (width,)}
    return made


def edm_shapes(kind, classes=0, size=8, channels=3, width=64, widths=(64, 128)):
    """Names and shapes of a whole network: "ddpm++", "ncsn++" or "adm"."""
    song, taps = kind != "adm", torch.outer(LARGE, LARGE)[None, None]
    taps = taps if kind == "ncsn++" else SMALL
    waves, emb = width * (2 if kind == "ncsn++" else 1), 4 * width
    rows = emb, (1 if song else 2)
    made = {"map_layer0.weight": (emb, waves), "map_layer0.bias": (emb,)}
    made |= {"map_layer1.weight": (emb, emb), "map_layer1.bias": (emb,)}
    made |= {"map_augment.weight": (waves, 9)}
    if kind == "ncsn++":
        made["map_noise.freqs"] = 16 * torch.randn(waves // 2)
    if classes:
        made["map_label.weight"] = (waves if song else emb, classes)
        made |= {"map_label.bias": (waves,)} if song else {}
    layers, now, skips, blocks = {}, width, [width], 1
    layers[f"enc.{size}x{size}_conv"] = {"weight": (width, channels, 3, 3), "bias": (width,)}
    image = channels
    for k, wide in enumerate(widths):
        name = f"enc.{size >> k}x{size >> k}"
        if k:
            layers[f"{name}_down"] = edm_block(now, now, rows, "down", taps, False, song)
            skips.append(now)
        if k and kind == "ncsn++":
            residual = {"weight": (now, image, 3, 3), "bias": (now,), "resample_filter": taps}
            layers[f"{name}_aux_residual"], image = residual, now
        for j in range(blocks):
            layers[f"{name}_block{j}"] = edm_block(now, wide, rows, attends=bool(k))
            now = wide
            skips.append(now)
    last = len(widths) - 1
    for k, wide in reversed(list(enumerate(widths))):
        name = f"dec.{size >> k}x{size >> k}"
        if k == last:
            layers[f"{name}_in0"] = edm_block(now, now, rows, attends=True)
            layers[f"{name}_in1"] = edm_block(now, now, rows)
        else:
            layers[f"{name}_up"] = edm_block(now, now, rows, "up", taps, False, song)
        for j in range(blocks + 1):
            attends = bool(k) and (j == blocks or not song)
            layers[f"{name}_block{j}"] = edm_block(now + skips.pop(), wide, rows, attends=attends)
            now = wide
    end = f"dec.{size}x{size}_aux" if song else "out"
    layers[f"{end}_norm"] = {"weight": (now,), "bias": (now,)}
    layers[f"{end}_conv"] = {"weight": (channels, now, 3, 3), "bias": (channels,)}
    return made | {
        f"{layer}.{name}": v for layer, each in layers.items() for name, v in each.items()
    }


def edm2_block(inputs, width, embedding, first, attends=False):
    """Shapes of the weights of a block whose first convolution takes `first` channels."""
    made = {"emb_gain": (), "conv_res0.weight": (width, first, 3, 3)}
    made |= {"emb_linear.weight": (width, embedding), "conv_res1.weight": (width, width, 3, 3)}
    if inputs != width:
        made["conv_skip.weight"] = (width, inputs, 1, 1)
    if attends:
        made["attn_qkv.weight"] = (3 * width, width, 1, 1)
        made["attn_proj.weight"] = (width, width, 1, 1)
    return made


def edm2_shapes(classes=0, size=8, channels=3, widths=(64, 128), blocks=1):
    """Names and shapes of a whole network within its preconditioner."""
    width, embedding = widths[0], max(widths)
    made = {"emb_fourier.freqs": (width,), "emb_fourier.phases": (width,), "out_gain": ()}
    made["emb_noise.weight"] = (embedding, width)
    made |= {"emb_label.weight": (embedding, classes)} if classes else {}
    layers, now, skips = (
        {f"enc.{size}x{size}_conv": {"weight": (width, channels + 1, 3, 3)}},
        width,
        [width],
    )
    for k, wide in enumerate(widths):
        name = f"enc.{size >> k}x{size >> k}"
        if k:
            layers[f"{name}_down"] = edm2_block(now, now, embedding, now)
            skips.append(now)
        for j in range(blocks):
            layers[f"{name}_block{j}"] = edm2_block(now, wide, embedding, wide, bool(k))
            now = wide
            skips.append(now)
    for k, wide in reversed(list(enumerate(widths))):
        name = f"dec.{size >> k}x{size >> k}"
        for kind in ("in0", "in1") if k == len(widths) - 1 else ("up",):
            layers[f"{name}_{kind}"] = edm2_block(now, now, embedding, now, kind == "in0")
        for j in range(blocks + 1):
            inputs = now + skips.pop()
            layers[f"{name}_block{j}"] = edm2_block(inputs, wide, embedding, inputs, bool(k))
            now = wide
    made |= {f"{layer}.{name}": v for layer, each in layers.items() for name, v in each.items()}
    made["out_conv.weight"] = (channels, now, 3, 3)
    whole = {f"unet.{name}": value for name, value in made.items()}
    return whole | {"logvar_fourier.freqs": (8,), "logvar_linear.weight": (1, 8)}


WIDTH, DEPTH, PATCH = 24, 2, 2


def sit_shapes(outputs=3, labels=4, side=4, channels=3, patch=PATCH):
    """Names and shapes of a whole network."""
    linear = {
        "t_embedder.mlp.0": (WIDTH, 256),
        "t_embedder.mlp.2": (WIDTH, WIDTH),
        "final_layer.linear": (patch**2 * outputs, WIDTH),
        "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
        "x_embedder.proj": (WIDTH, channels, patch, patch),
    }
    for k in range(DEPTH):
        linear |= {
            f"blocks.{k}.attn.qkv": (3 * WIDTH, WIDTH),
            f"blocks.{k}.attn.proj": (WIDTH, WIDTH),
            f"blocks.{k}.mlp.fc1": (4 * WIDTH, WIDTH),
            f"blocks.{k}.mlp.fc2": (WIDTH, 4 * WIDTH),
            f"blocks.{k}.adaLN_modulation.1": (6 * WIDTH, WIDTH),
        }
    made = {"pos_embed": (1, side**2, WIDTH)}
    for name, shape in linear.items():
        made |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return made | ({"y_embedder.embedding_table.weight": (labels, WIDTH)} if labels else {})
