"""What is asked of a picture."""

from __future__ import annotations

import pytest

from services.api.dicomweb.frames import LONGEST_FRAME_LIST, frame_numbers
from services.api.dicomweb.render_options import options_of
from services.common.errors import InvalidQuery
from services.common.pixels.options import RenderOptions, Viewport, Window


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, RenderOptions()),
        ({"annotation": "patient", "quality": ""}, RenderOptions()),
        ({"quality": "75"}, RenderOptions(quality=75)),
        ({"window": "40,400"}, RenderOptions(window=Window(centre=40, width=400))),
        (
            {"window": "-600.5, 1600, LINEAR-EXACT"},
            RenderOptions(window=Window(centre=-600.5, width=1600, function="LINEAR_EXACT")),
        ),
        ({"window": "0,0.5,sigmoid"}, RenderOptions(window=Window(centre=0, width=0.5, function="SIGMOID"))),
        ({"viewport": "100,200"}, RenderOptions(viewport=Viewport(width=100, height=200))),
        (
            {"viewport": "100,200,,,-50,60"},
            RenderOptions(viewport=Viewport(width=100, height=200, source_width=-50, source_height=60)),
        ),
        (
            {"viewport": "1,1,10,20"},
            RenderOptions(viewport=Viewport(width=1, height=1, source_x=10, source_y=20)),
        ),
    ],
)
def test_parameters_are_read(parameters: dict[str, str], expected: RenderOptions) -> None:
    assert options_of(parameters, "image/jpeg") == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "0"),
        ("quality", "101"),
        ("quality", "high"),
        ("window", "40"),
        ("window", "40,0"),
        ("window", "40,0.5"),
        ("window", "40,-1,sigmoid"),
        ("window", "nan,inf"),
        ("window", "1e9,1"),
        ("window", "40,400,cubic"),
        ("window", "1,2,linear,4"),
        ("viewport", "100"),
        ("viewport", "0,100"),
        ("viewport", "100000,100"),
        ("viewport", "1,2,3,4,5,6,7"),
        ("viewport", "1,2,x"),
        ("viewport", "\u0661,1"),
    ],
)
def test_broken_parameters_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidQuery):
        options_of({name: value}, "image/jpeg")


def test_frame_lists() -> None:
    assert frame_numbers("1") == [1]
    assert frame_numbers("3,1,1,200") == [3, 1, 1, 200]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "1,",
        ",1",
        "1;2",
        "1-3",
        " 1",
        "+1",
        "1.0",
        "\u0661",
        "9" * 11,
        "a",
        "1," * LONGEST_FRAME_LIST + "1",
    ],
)
def test_broken_frame_lists_are_refused(text: str) -> None:
    with pytest.raises(InvalidQuery):
        frame_numbers(text)
