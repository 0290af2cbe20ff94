"""Skip lists of several checkpoints in one report: one label, one group, the lists in words."""

from dataclasses import replace

from helpers.canned_run import run as canned

from bench.core.scheme import Scheme
from bench.report import markdown
from bench.report.figures.bits import loss_by_bits
from bench.report.ranking import groups
from bench.report.rows import rows

LAYERS = "w4a8+skip=unet.up_blocks.2.resnets.{}.conv_shortcut+skip=unet.conv_in"


def skipping(record, number):
    if str(record.cell.scheme) != "w4a8":
        return record
    scheme = Scheme.parse(LAYERS.format(number))
    return replace(record, cell=replace(record.cell, scheme=scheme))


def test_lists_of_equal_length_are_ranked_together(tmp_path):
    run = canned()
    records = [skipping(record, number) for number, record in enumerate(run.records)]
    run = replace(run, records=tuple(records))
    found = rows(run)
    (group,) = (g for g in groups(found) if g.scheme.skip)
    assert len(group.rows) == 4
    text = markdown(run, tmp_path).replace("\\", "")
    assert "### w4a8+2 skipped" in text
    assert "- **w4a8+2 skipped** (fmnist-baseline):" in text
    assert text.count("- **w4a8+2 skipped**") == 4
    ticks = [label.get_text() for label in loss_by_bits(found).axes[0].get_xticklabels()]
    assert ticks == ["w8a8", "w4a8+2 skipped"]
