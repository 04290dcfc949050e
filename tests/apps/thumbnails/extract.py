# SPDX-License-Identifier: LGPL-2.1-or-later
"""A JPEG photo goes in. Out comes what its camera wrote into it, checked and signed, and a thumbnail.

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://localhost:8080/invoke/thumbnails/extract

This function reads the photo's EXIF data. `check` makes sense of it, and has it signed by `sign`; `resize`
makes the thumbnail. All of that stays on the application's own bus.
"""

import base64
import io
import struct

from PIL import ExifTags, Image, UnidentifiedImageError

# What a library loads at its first use is loaded here once, not anew in the process of each event.
Image.preinit()

GPS = 0x8825
EXIF = 0x8769


class NotAPhoto(Exception):
    """The event is no JPEG picture."""


def handle(event, context):
    if not isinstance(event, bytes) or not event:
        raise NotAPhoto("expected the bytes of a JPEG photo, with Content-Type image/jpeg")

    report = context.call("check", extract(event))
    thumbnail = context.call("resize", event)
    width, height = jpeg_size(thumbnail)
    report["thumbnail"] = {
        "content_type": "image/jpeg",
        "width": width,
        "height": height,
        "data": base64.b64encode(thumbnail).decode("ascii"),
    }
    return report


def extract(photo):
    """The photo's size in pixels and its EXIF tags by name, as JSON can hold them."""
    try:
        image = Image.open(io.BytesIO(photo), formats=["JPEG"])
        exif = image.getexif()
        tags = named(exif, ExifTags.TAGS) | named(exif.get_ifd(EXIF), ExifTags.TAGS)
        gps = named(exif.get_ifd(GPS), ExifTags.GPSTAGS)
    except UnidentifiedImageError:
        raise NotAPhoto(f"these {len(photo)} bytes are not a JPEG picture") from None
    except (SyntaxError, ValueError, struct.error) as error:
        raise NotAPhoto(f"the picture's metadata is damaged: {error}") from error
    return {"bytes": len(photo), "width": image.width, "height": image.height, "tags": tags, "gps": gps}


def named(ifd, names):
    return {names[tag]: value for tag, raw in ifd.items()
            if tag in names and (value := plain(raw)) is not None}


def plain(value):
    """An EXIF value as JSON can hold it, or None for binary ones (maker notes and the like)."""
    if isinstance(value, str):
        return value.strip("\0 ") or None
    if isinstance(value, (tuple, list)):
        items = [plain(item) for item in value]
        return None if None in items else items
    if isinstance(value, int):
        return value
    if hasattr(value, "numerator"):  # a fraction; 0/0 stands for unknown
        return float(value) if value.denominator else None
    return None


def jpeg_size(picture):
    with Image.open(io.BytesIO(picture)) as image:
        return image.size
