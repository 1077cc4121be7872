"""Pictures, as Core ML would get them: upright, in the model's colours, stretched (or cropped) to its size.

JPEG, PNG, BMP, GIF (the first frame), WebP and TIFF, told by their content.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from finetuned import SampleError, hookimpl

if TYPE_CHECKING:
    from PIL import Image

    from finetuned import Decoder, InputSpec

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L"}
MAX_PIXELS = 100_000_000  # about 300 MB decoded; the decoder's process has 1 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The decoder for image inputs."""

    name: str = "pictures"
    suffixes: frozenset[str] = SUFFIXES

    def decode(self, data: bytes, want: InputSpec) -> bytes:
        """Return uint8 [C, H, W]; alpha is ignored, as Core ML does."""
        if not want.color:
            raise SampleError(
                f"a picture, but the model's input {want.name} is an array of shape {list(want.shape)}"
            )
        picture = _fitted(_colored(_upright(_opened(data)), MODES[want.color]), want)
        bands = [band.tobytes() for band in picture.split()]
        return b"".join(reversed(bands) if want.color == "BGR" else bands)


@hookimpl
def finetuned_decoders() -> list[Decoder]:
    """Bring the decoder for pictures."""
    return [Pictures()]


def _opened(data: bytes) -> Image.Image:
    """Decode the pixels; whatever Pillow finds wrong is the sample's fault."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only the decoder's process pays for it

    try:
        with warnings.catch_warnings():
            # Pillow warns above its own limit before ours is looked at.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError  # noqa: TRY301 - the same sentence for Pillow's limit and ours
        picture.load()
    except UnidentifiedImageError:
        raise SampleError(f"not a picture of a known kind ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise SampleError(f"a picture of more than {MAX_PIXELS // 1_000_000} million pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever struct, zlib and libtiff do
        # Pillow repeats bytes of the file in quotation marks, and this sentence leaves the machine.
        why = re.sub(r"b?'[^']*'|b?\"[^\"]*\"", "…", str(error))
        raise SampleError(f"the picture is damaged: {why}") from error
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a picture whose EXIF data is damaged is taken as it stands."""
    from PIL import ImageOps  # noqa: PLC0415 - only the decoder's process pays for it

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever struct does
        return picture


def _colored(picture: Image.Image, mode: str) -> Image.Image:
    """Convert to 8 bits a channel; Pillow alone would clip 16 bits at 255 where it should scale them."""
    if picture.mode.startswith("I"):
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return picture.convert(mode)


def _fitted(picture: Image.Image, want: InputSpec) -> Image.Image:
    """Resize to the input's size: the whole picture, or with `crop` its middle in the input's aspect."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - only the decoder's process pays for it

    _, height, width = want.shape
    if want.fit == "crop":
        return ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
