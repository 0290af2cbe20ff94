"""Canned explanations for the claims."""

from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue

METHODS = ("baseline", "ema", "swa", "sam", "sam+ema", "sam+swa")


def explanation(lpf, psnr, methods=METHODS, width=0.01, seeds=(0,) * 6):
    parts = [
        ProbePart(
            f"c{seed}-{method}",
            "f",
            method,
            seed,
            "",
            "flatness",
            1,
            "lpf",
            "ok",
            rows=(
                ProbeValue("lpf_rise", flat, flat - width, flat + width, 50),
                ProbeValue("psnr", value, scheme="w4a8"),
                ProbeValue("exposure_gap", -flat, -flat - width, -flat + width, 50),
            ),
        )
        for method, flat, value, seed in zip(methods, lpf, psnr, seeds, strict=False)
    ]
    return ProbeRun("id", "2026", "", "bench probe", {}, tuple(parts))
