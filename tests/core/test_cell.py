import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from helpers.records import CELL, CHECKPOINT
from hypothesis import given
from hypothesis import strategies as st

from bench.core import border, scheme_words, tables
from bench.core.cell import Draw, content_key, expand
from bench.core.errors import InputError
from bench.core.scheme import Scheme

bits = st.sampled_from([2, 3, 4, 5, 6, 7, 8, 16, 32])


@given(
    bits,
    bits,
    st.sampled_from([0, 8, 32]),
    st.sampled_from(["histogram", "minmax"]),
    st.lists(st.from_regex(r"[A-Za-z_.*]{1,8}", fullmatch=True), max_size=2, unique=True),
)
def test_scheme_round_trip(weight, act, edge, observer, skip):
    """Each scheme is read back from its name, but for options that do nothing for its bits."""
    scheme = Scheme(weight, act, edge, observer, skip=tuple(skip))
    idle = {"all": edge == 0 and min(weight, act) >= 8, "minmax": observer == "minmax" and act > 8}
    if scheme.is_float:
        assert str(scheme) == "fp32"
    elif any(idle.values()):
        with pytest.raises(InputError, match="does nothing"):
            Scheme.parse(str(scheme))
    else:
        assert Scheme.parse(str(scheme)) == scheme


@given(
    st.integers(201, 799),
    bits,
    st.sampled_from([0, 8, 32]),
    st.sampled_from(["histogram", "minmax"]),
    st.booleans(),
)
def test_round_trip_of_a_scheme_with_a_budget(hundredths, act, edge, observer, by_macs):
    scheme = Scheme(8, act, edge, observer, budget=hundredths / 100, by_macs=by_macs)
    assert not scheme.is_float and scheme.mean_bits == hundredths / 100
    if observer == "minmax" and act > 8:
        with pytest.raises(InputError, match="does nothing"):
            Scheme.parse(str(scheme))
    else:
        assert Scheme.parse(str(scheme)) == scheme
        assert str(Scheme.parse(str(scheme))) == str(scheme) == scheme.label


def test_a_budget_in_words_in_keys_and_in_files():
    scheme = Scheme.parse("W~4.50A8+bias")
    assert str(scheme) == "w~4.5a8+bias" and str(Scheme.parse("w~4a8")) == "w~4a8"
    assert scheme.layer_bits(edge=False) == (8, 8)
    told = scheme.explain()
    assert "weights of 2 to 8 bits" in told and "mean over all weights at most 4.5," in told
    assert "first and last convolution at W8A8" in told and told.endswith("method bias")
    by_macs = Scheme.parse("w~4.5a8+by-macs+all")
    assert "mean over all multiply-accumulates at most 4.5," in by_macs.explain()
    assert "every convolution and linear layer" in by_macs.explain()
    others = (scheme, by_macs, *map(Scheme.parse, ("w~4.5a8", "w~4.51a8", "w8a8", "w~4.5a8+all")))
    assert len({replace(CELL, scheme=s).key({}) for s in others}) == len(others)
    assert border.build(Scheme, asdict(scheme)) == scheme
    with pytest.raises(ValueError, match="above 2 and below 8"):
        border.build(Scheme, asdict(scheme) | {"budget": float("nan")})
    with pytest.raises(InputError, match="weights have up to 8 bits, not 4"):
        Scheme(4, 8, budget=4.5)
    # Files of before there were budgets.
    old = {
        name: value
        for name, value in asdict(CELL.scheme).items()
        if name not in ("budget", "by_macs", "also")
    }
    assert border.build(Scheme, old) == CELL.scheme


@given(st.text(st.sampled_from("w48a+=allskipminmax-iotebs* \x00٤\x1b"), max_size=40))
def test_what_is_parsed_is_parsed_again_from_its_name(text):
    try:
        scheme = Scheme.parse(f"w4a8+{text}")
    except InputError:
        return
    assert Scheme.parse(str(scheme)) == scheme


@pytest.mark.parametrize(
    "text, reason",
    [
        ("w32a32+all", "quantizes nothing"),
        ("w16a16", "quantizes nothing"),
        ("w8a8+all", "all does nothing"),
        ("w4a32+minmax", "minmax does nothing"),
        ("w4a8+minmax+minmax", "minmax is there twice"),
        ("w4a8+all+skip-io", "skip-io repeats or contradicts"),
        ("w4a8+skip-io+skip-io-time", "skip-io-time repeats or contradicts"),
        ("w4a8+skip=a+skip=a", "skip=a is there twice"),
        ("w4a8+baias", r"option 'baias' is unknown \(did you mean 'bias'\?\) in scheme"),
        ("w4a8+minmx", r"'minmx' is unknown \(did you mean 'minmax'\?\)"),
        ("w~2a8", "a budget of bits is above 2 and below 8, .* not 2$"),
        ("w~8a8", "above 2 and below 8, .* not 8$"),
        ("w~16a8", "above 2 and below 8, .* not 16$"),
        ("w~0a8", "above 2 and below 8, .* not 0$"),
        ("w~4.567a8", "at most two decimals, as in w~4.5a8, not 4.567$"),
        ("w4.5a8", "unknown scheme 'w4.5a8': write for example w8a8, w4a8 or w~4.5a8$"),
        ("w~a8", "unknown scheme"),
        ("w~-4a8", "unknown scheme"),
        ("w~nana8", "unknown scheme"),
        ("w~4.5a9", "activation bits must be"),
        ("w4a8+by-macs", "by-macs says what a budget of bits counts: write for example w~4.5a8"),
        ("w~4.5a8+by-macs+by-macs", "by-macs is there twice"),
        ("w~4.5a8+by-mac", r"'by-mac' is unknown \(did you mean 'by-macs'\?\)"),
        ("w4a8+zzz=1", r"'zzz' is unknown \(known: all, skip-io, .*, skip=GLOB, .*bias"),
        ("w4a8+bias+bias", "method bias is there twice: name it once"),
        ("w4a8+bias+bias=2", "method bias is there twice: name it once"),
        ("w4a8+bias=", "bias= is no method"),
        ("w4a8+bias=a b", "bias=a b is no method"),
        ("w4a8+bias=" + "a" * 100, "at most 100 of them"),
        ("w4a8+rtn+rtn", "option rtn is there twice in scheme"),
        ("w4a8+rtn+gptq", "option rtn is plain rounding and contradicts gptq: name one of them"),
        ("w4a8+adaround=iterations:9+RTN", "rtn is plain rounding and contradicts adaround"),
        ("w4a8+rtn=1", "'rtn' is unknown"),
        ("fp32+rtn", "unknown scheme"),
        ("w4a8+python=a b.py:f", "python=a b.py:f: python needs a path of letters"),
        ("w4a8+python=" + "a" * 400 + ".py:f", "at most 400 of them"),
        ("w4a8+python", "python needs a path"),
        ("w4a8+weights=$HOME/w.pt", "weights needs a path of letters"),
        ("w4a8+python=a.py:f+python=b.py:g", "method python is there twice: name it once"),
        ("fp32+bias", "unknown scheme"),
        ("w4a8+skip=", "no glob"),
        ("w4a8+skip=a b", "no glob"),
        ("w4a8+skip=\x1b[2J", r"skip=\\x1b\[2J is no glob"),
        ("w4a8\x00", r"w4a8\\x00"),
        ("w٤a٨", "unknown scheme"),
        ("w" + "4" * 5000 + "a8", "unknown scheme"),
        ("w4a8+skip=" + "[a" * 500, "no glob"),
        ("w4a8" + "".join(f"+skip={k}" for k in range(300)), "at most 200"),
        ("w8a8" + "+skip=x" * 5000, "at most 10000"),
    ],
)
def test_a_scheme_that_means_nothing_is_refused_by_name(text, reason):
    with pytest.raises(InputError, match=reason) as caught:
        Scheme.parse(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["w4", "4", "w4a8+", "w4a8+most", "int8", "w1a8", "w9a8", "w4a0"])
def test_scheme_refuses(text):
    with pytest.raises(InputError):
        Scheme.parse(text)


def test_edge_layers_keep_8_bits():
    assert Scheme.parse("w4a8").layer_bits(edge=True) == (8, 8)
    assert Scheme.parse("w4a8").layer_bits(edge=False) == (4, 8)
    assert Scheme.parse("w4a8+all").layer_bits(edge=True) == (4, 8)
    assert Scheme.parse("w4a16").layer_bits(edge=True) == (8, 16)
    assert "first and last convolution at W8A8" in Scheme.parse("w4a8").explain()


def test_edges_and_time_in_float():
    scheme = Scheme.parse("w4a8+skip-io")
    assert scheme.layer_bits(edge=True) == (32, 32) and scheme.layer_bits(edge=False) == (4, 8)
    assert (str(scheme), scheme.skip) == ("w4a8+skip-io", ())
    assert "first and last convolution in float" in scheme.explain()
    scheme = Scheme.parse("w4a8+skip-io-time")
    assert scheme.skip == ("*time_emb*",) and scheme.edge_bits == 32
    assert Scheme.parse(str(scheme)) == scheme


def test_rtn_is_what_a_scheme_is_without_a_method():
    assert Scheme.parse("w4a8+rtn") == Scheme.parse("w4a8") == Scheme.parse("w4a8+RTN")
    assert str(Scheme.parse("w4a8+rtn+bias+minmax")) == "w4a8+minmax+bias"
    assert Scheme.parse("w4a8+rtn+mse").methods == ("mse",)


@pytest.mark.parametrize("path", ["m.py:f", "/a/b-c_d/m.1.py:f", "../m.py:F:9,a", "~/ü/m.py:f"])
def test_methods_of_files_keep_their_paths(path):
    scheme = Scheme.parse(f"w4a8+weights=W/x.pt+python={path}")
    assert scheme.methods == ("weights:W/x.pt", f"python:{path}")
    assert Scheme.parse(str(scheme)) == scheme
    assert str(scheme) == f"w4a8+weights=W/x.pt+python={path}"
    assert scheme_words.path_of(path) == path.partition(".py")[0] + ".py"


def test_methods_keep_their_order_and_their_options():
    assert Scheme.parse("w4a8").methods == ()
    scheme = Scheme.parse("w4a8+skip=a+bias=0.5:x,y+minmax")
    assert scheme.methods == ("bias:0.5:x,y",)
    assert str(scheme) == "w4a8+minmax+bias=0.5:x,y+skip=a"
    assert Scheme.parse(str(scheme)) == scheme
    # What another machine knows is read here too, as of a file; the order is that of the writer.
    others = [Scheme(4, 8, methods=names) for names in (("a", "b:1"), ("b:1", "a"))]
    assert [str(s) for s in others] == ["w4a8+a+b=1", "w4a8+b=1+a"]
    assert others[0].explain().endswith("; changed by the quantization methods a, then b=1")
    assert "method" not in Scheme.parse("w4a8").explain()
    keys = {replace(CELL, scheme=s).key({}) for s in (*others, CELL.scheme, scheme)}
    assert len(keys) == 4
    with pytest.raises(InputError, match="full precision is not"):
        Scheme(methods=("bias",))
    with pytest.raises(InputError, match="11 methods in a scheme: at most 10"):
        Scheme(4, 8, methods=tuple("abcdefghijk"))


def test_words_of_schemes_are_no_names_of_methods():
    assert set(tables.RESERVED["methods"]) == {
        *scheme_words.OPTIONS,
        scheme_words.ROUND_TO_NEAREST,
        "skip",
        "also",
    }


def test_a_scheme_is_read_without_its_methods_being_imported():
    code = (
        "import sys; from bench.core.scheme import Scheme; Scheme.parse('w4a8+bias').explain();"
        "assert not {'torch', 'bench.quant'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_draw_refuses_nonsense():
    for change in ({"images": 0}, {"steps": 0}, {"steps": 1001}, {"batch": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            Draw(**change)


def test_expand_puts_the_reference_first():
    cells = expand([CHECKPOINT], [Scheme.parse("w8a8"), Scheme()], ["simulated"], Draw())
    assert [str(cell.scheme) for cell in cells] == ["fp32", "w8a8"]
    assert cells[1].reference == cells[0]


def test_key_ignores_names_and_paths_and_nothing_else():
    versions = {"torch": "2"}
    same = replace(CHECKPOINT, name="b", uri="elsewhere")
    assert replace(CELL, checkpoint=same).key(versions) == CELL.key(versions)
    others = [
        replace(CELL, checkpoint=replace(CHECKPOINT, sha256="01")),
        replace(CELL, checkpoint=replace(CHECKPOINT, config={"x": 1})),
        replace(CELL, scheme=Scheme.parse("w4a8+all")),
        replace(CELL, scheme=replace(CELL.scheme, calibration=7)),
        replace(CELL, backend="float"),
        replace(CELL, metrics=("psnr",)),
        *(
            replace(CELL, draw=replace(Draw(), **change))
            for change in ({"seed": 1}, {"steps": 3}, {"images": 7}, {"batch": 3}, {"eta": 0.5})
        ),
    ]
    keys = {cell.key(versions) for cell in [CELL, *others]} | {CELL.key({"torch": "3"})}
    assert len(keys) == len(others) + 2


def test_content_key_is_pinned():
    assert content_key(a=1, b=[1, 2]) == content_key(b=[1, 2], a=1)
    assert content_key(a=1) == "015abd7f5cc57a2dd94b7590f04ad808"


def test_label_of_a_long_skip_list():
    methods = "w4a8+first-of-many-methods=0.125+second=0.5"
    named = Scheme(4, 8, methods=("first-of-many-methods:0.125", "second:0.5"))
    assert named.label == str(named) == methods
    long = "w4a8+skip=unet.up_blocks.2.resnets.1.conv_shortcut+skip=unet.conv_in"
    assert Scheme.parse(long).label == "w4a8+2 skipped"
    assert Scheme.parse("w4a8+skip=*.attentions.*").label == "w4a8+skip=*.attentions.*"
