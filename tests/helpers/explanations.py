"""Canned explanations for the claims."""

from bench.core.probe_record import Explanation, Part, Row

METHODS = ("baseline", "ema", "swa", "sam", "sam+ema", "sam+swa")


def explanation(lpf, psnr, methods=METHODS, width=0.01, seeds=(0,) * 6):
    parts = [
        Part(
            *(f"c{seed}-{method}", "f", method, seed, "", "flatness", 1, "lpf", "ok"),
            rows=(
                Row("lpf_rise", flat, flat - width, flat + width, 50),
                Row("psnr", value, scheme="w4a8"),
                Row("exposure_gap", -flat, -flat - width, -flat + width, 50),
            ),
        )
        for method, flat, value, seed in zip(methods, lpf, psnr, seeds, strict=False)
    ]
    return Explanation("id", "2026", "", "bench probe", {}, tuple(parts))
