import base64
import io
import json
import re
import sys

import numpy as np
import pytest

from sancodec.codec.models import shipped_model
from sancodec.errors import MissingDependencyError
from sancodec.plot.bank_panels import bank_picture
from sancodec.plot.interactive import write_interactive
from sancodec.plot.panels import Axis, Curve, Heat, Panel, Picture, Row, Stems


def page_of(picture):
    file = io.BytesIO()
    write_interactive(picture, file)
    return file.getvalue().decode()


def call_of(page):
    """Traces, layout and configuration that the page passes to plotly."""
    text = page[page.rindex("Plotly.newPlot(") :]
    decoder, found, place = json.JSONDecoder(), [], text.index("[")
    for _ in range(3):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place = re.compile(r"[,\s]*").match(text, place).end()
    return found


def numbers(value):
    """An array, which plotly writes as a list, or from release 6 on as bytes."""
    if isinstance(value, list):
        return np.array(value, np.float64)
    array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
    shape = [int(each) for each in str(value.get("shape", len(array))).split(",")]
    return array.reshape(shape)


def test_the_page_holds_the_data_of_every_panel(record_picture):
    traces, layout, _ = call_of(page_of(record_picture))
    marks = [mark for panel in record_picture.panels for mark in panel.marks]
    assert len(traces) == len(marks)
    for trace, mark in zip(traces, marks, strict=True):
        if isinstance(mark, Heat):
            np.testing.assert_allclose(numbers(trace["customdata"]), mark.values, rtol=1e-6)
            np.testing.assert_allclose(numbers(trace["x"]), mark.x_edges)
        else:
            y = numbers(trace["y"])
            np.testing.assert_allclose(y[1::3] if isinstance(mark, Stems) else y, mark_heights(mark), rtol=1e-6)
    texts = [each["text"] for each in layout["annotations"]]
    assert texts[0] == record_picture.title
    for panel in record_picture.panels:
        assert panel.title in texts


def mark_heights(mark):
    return mark.heights if isinstance(mark, Stems) else mark.y


def test_panels_over_time_zoom_together(record_picture):
    traces, layout, _ = call_of(page_of(record_picture))
    shared = [number for number, panel in enumerate(record_picture.panels, start=1) if panel.is_shared]
    first, *others = [f"{number}" if number > 1 else "" for number in shared]
    assert "matches" not in layout[f"xaxis{first}"]
    assert {layout[f"xaxis{other}"]["matches"] for other in others} == {f"x{first}"}
    assert {trace["xaxis"] for trace in traces} == {"x", *(f"x{n}" for n in range(2, len(record_picture.panels) + 1))}


def test_values_under_the_pointer_have_their_units(record_picture):
    traces, _, _ = call_of(page_of(record_picture))
    *_, signal = traces
    assert signal["hovertemplate"] == "time %{x:.5f} s<br>MLII %{y:.5g} mV<extra></extra>"
    (heat,) = [trace for trace in traces if trace["type"] == "heatmap"]
    assert "|coefficient| %{customdata:.4g} mV" in heat["hovertemplate"]


def test_the_page_needs_no_network_and_may_not_use_one(signal_picture):
    page = page_of(signal_picture)
    outside_script = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=", outside_script)
    assert not re.search(r"<script[^>]+src=", page)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert page.index("Content-Security-Policy") < page.index("<script")


def test_no_button_uploads_the_picture(signal_picture):
    _, _, configuration = call_of(page_of(signal_picture))
    buttons = {name for group in configuration["modeBarButtons"] for name in group}
    assert buttons == {"toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"}
    assert configuration["showSendToCloud"] is False


def test_the_same_picture_gives_the_same_page(signal_picture):
    assert page_of(signal_picture) == page_of(signal_picture)


def test_images_and_banks_are_drawn(image_picture):
    traces, layout, _ = call_of(page_of(image_picture))
    assert {trace["type"] for trace in traces} == {"heatmap"}
    assert layout["yaxis"]["autorange"] == "reversed"
    traces, layout, _ = call_of(page_of(bank_picture(shipped_model("haar"), title="haar")))
    assert len(traces) == 16
    assert layout["xaxis8"]["type"] == "log"


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<b>bold</b>", "%{x}", "a & b", "\x00\x1b[31m"])
def test_names_are_shown_as_they_are(name):
    curve = Curve(np.arange(3.0), np.arange(3.0), "#000000", name)
    picture = Picture(name, (Row((Panel(name, Axis("time", "s"), Axis(name, name), (curve,)),)),))
    page = page_of(picture)
    assert "<script>alert" not in page
    assert "<b>" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    traces, layout, _ = call_of(page)
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "%\u200b{")
    escaped = escaped.replace("\x00", "\N{REPLACEMENT CHARACTER}").replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert layout["annotations"][0]["text"] == escaped
    assert traces[0]["hovertemplate"].count("%{") == 2


def test_without_plotly_the_extra_is_named(signal_picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingDependencyError, match=r"HTML need plotly .*; pip install 'sancodec\[plot\]'"):
        page_of(signal_picture)
