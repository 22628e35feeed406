import io
import re
import struct
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sancodec.codec.models import shipped_model
from sancodec.errors import MissingDependencyError
from sancodec.plot.bank_panels import bank_picture
from sancodec.plot.layout import PAGE_WIDTH, page_of
from sancodec.plot.panels import Axis, Curve, Panel, Picture, Row, Stems
from sancodec.plot.static import FORMATS, write_static

SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture, form):
    file = io.BytesIO()
    write_static(picture, file, form=form)
    return file.getvalue()


def one_panel(title, y, marks=None):
    marks = marks or (Curve(np.arange(3.0), np.arange(3.0), "#000000", "$a_b$ <label>"),)
    return Picture(title, (Row((Panel(title, Axis("time", "s"), y, marks),)),))


def test_a_png_has_the_size_of_its_page(record_picture):
    content = drawn(record_picture, "png")
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (150 * PAGE_WIDTH, pytest.approx(150 * page_of(record_picture).height, abs=1))


def test_a_png_is_not_blank(signal_picture):
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(drawn(signal_picture, "png")))
    assert 0.01 < (pixels[:, :, :3].min(axis=2) < 0.9).mean() < 0.5


def test_an_svg_has_all_titles_and_axes(record_picture):
    content = drawn(record_picture, "svg").decode()
    root = ET.fromstring(content)
    assert root.tag == f"{SVG}svg"
    texts = set(re.findall(r"<!-- (.*?) -->", content))
    for panel in record_picture.panels:
        assert panel.title in texts
        assert panel.y.text in texts
    assert "time (s)" in texts
    axes = [each.get("id") for each in root.iter(f"{SVG}g") if re.fullmatch(r"axes_\d+", each.get("id", ""))]
    assert len(axes) >= len(record_picture.panels)


def test_a_pdf_is_one(signal_picture):
    content = drawn(signal_picture, "pdf")
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_picture_gives_the_same_bytes(signal_picture, form):
    first = drawn(signal_picture, form)
    assert drawn(signal_picture, form) == first
    assert b"Date>" not in first
    assert b"CreationDate" not in first


def test_images_and_banks_are_drawn(image_picture):
    for picture in (image_picture, bank_picture(shipped_model("haar"), title="haar")):
        ET.fromstring(drawn(picture, "svg"))


@pytest.mark.parametrize(
    "text", ["$x_1$", "a $ b", "心电图", "<script>&", "\\frac", "__", "_hidden", "µV", "\x00\x01", "\N{PILE OF POO}"]
)
def test_names_are_drawn_as_they_are(text):
    assert drawn(one_panel(text, Axis(text, text)), "png").startswith(b"\x89PNG")
    ET.fromstring(drawn(one_panel(text, Axis(text, text)), "svg"))


def test_settings_of_the_user_change_nothing(signal_picture):
    import matplotlib as mpl

    plain = drawn(signal_picture, "svg")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "axes.grid": True}):
        assert drawn(signal_picture, "svg") == plain
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.full(3, np.nan), np.array([1e300, -1e300, 0]), np.array([1.0, np.inf, 2.0])]
)
def test_odd_values_are_drawn(values):
    marks = (Curve(np.arange(3.0), values, "#000000"), Stems(np.zeros(0), np.zeros(0), "#d55e00"))
    assert drawn(one_panel("odd", Axis("value"), marks), "png").startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(signal_picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"PNG need matplotlib .*; pip install 'sancodec\[plot\]'"):
        drawn(signal_picture, "png")
