from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from PIL import Image

from finetuned.errors import SampleError
from finetuned.service.messages import InputSpec
from finetuned_plugins.pictures import Pictures
from service.samples import VECTOR, bomb, npy, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORIENTATION = 0x0112
# Four quarters: red and green above, blue and white below.
QUARTERS = (
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8).repeat(8, 0).repeat(8, 1)
)


def spec(
    height: int,
    width: int,
    color: Literal["RGB", "BGR", "GRAYSCALE"] = "RGB",
    fit: Literal["stretch", "crop"] = "stretch",
) -> InputSpec:
    return InputSpec(
        name="image", shape=(1 if color == "GRAYSCALE" else 3, height, width), color=color, fit=fit
    )


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decoded(data: bytes, want: InputSpec) -> NDArray[np.uint8]:
    return np.frombuffer(Pictures().decode(data, want), np.uint8).reshape(want.shape)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_a_picture_of_the_right_size_keeps_its_pixels_channel_by_channel(kind: str) -> None:
    picture = Image.fromarray(QUARTERS)
    data = saved(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert (decoded(data, spec(16, 16)) == QUARTERS.transpose(2, 0, 1)).all()


def test_bgr_has_the_blue_channel_first() -> None:
    assert decoded(png((1, 2, 3)), spec(1, 1, "BGR")).ravel().tolist() == [3, 2, 1]


def test_gray_is_the_luma_of_rec_601() -> None:
    assert decoded(png((100, 150, 200)), spec(2, 2, "GRAYSCALE")).ravel().tolist() == [141] * 4


def test_alpha_is_ignored() -> None:
    data = saved(Image.new("RGBA", (2, 2), (10, 20, 30, 0)))
    assert decoded(data, spec(1, 1)).ravel().tolist() == [10, 20, 30]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    data = saved(Image.fromarray(np.full((2, 2), 0x4000, np.uint16)))
    assert decoded(data, spec(1, 1, "GRAYSCALE")).item() == 0x40


def test_the_exif_orientation_is_applied() -> None:
    picture = Image.fromarray(QUARTERS)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was turned: upright is 90° clockwise
    upright = decoded(saved(picture, exif=exif), spec(16, 16))
    assert upright[:, 0, 0].tolist() == [0, 0, 255]
    assert upright[:, 0, -1].tolist() == [255, 0, 0]


def test_stretch_uses_the_whole_picture_and_crop_its_middle() -> None:
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 255
    data = saved(Image.fromarray(stripes))
    assert decoded(data, spec(4, 4)).min() == 0
    assert decoded(data, spec(4, 4, fit="crop")).min() == 255


BROKEN = {
    "empty": (b"", "not a picture"),
    "something else": (b"%PDF-1.7 something else", "not a picture"),
    "truncated PNG": (saved(Image.fromarray(QUARTERS))[:-40], "damaged"),
    "truncated JPEG": (saved(Image.fromarray(QUARTERS), "JPEG")[:300], "damaged"),
    "garbled PNG": (
        saved(Image.fromarray(QUARTERS)).replace(b"IDATx\x9c", b"IDAT\x00\x00"),
        "damaged|not a picture",
    ),
    "bomb": (bomb(11_000), "more than 100 million pixels"),
    "huge bomb": (bomb(60_000), "more than 100 million pixels"),
}


def test_a_refusal_repeats_nothing_of_the_file() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    whole = saved(Image.fromarray(noise))
    second = whole.index(b"IDAT", whole.index(b"IDAT") + 1)
    with pytest.raises(SampleError, match="damaged: broken PNG file") as refused:
        decoded(whole[:second] + b"se?t" + whole[second + 4 :], spec(4, 4))
    assert "se?t" not in str(refused.value)


@pytest.mark.parametrize(("data", "complaint"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_good_picture_is_refused_with_a_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(SampleError, match=complaint):
        decoded(data, spec(4, 4))


def test_a_picture_is_no_array() -> None:
    with pytest.raises(SampleError, match=r"input x is an array of shape \[3\]"):
        Pictures().decode(png(), VECTOR)


def test_an_array_is_no_picture() -> None:
    with pytest.raises(SampleError, match="not a picture"):
        decoded(npy([1.0]), spec(1, 1))
