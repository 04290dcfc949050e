# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns a camera's raw tags into metadata that one can rely on, and has them signed.

What is absent is left out; what cannot be true is left out and named in "warnings".
"""

import datetime
import json

import _strptime  # noqa: F401; by datetime.strptime() at its first use: here once, not in each event's process

EARLIEST = datetime.datetime(1990, 1, 1)  # no digital camera wrote EXIF before


def handle(event, context):
    tags, gps = event["tags"], event["gps"]
    warnings = []
    metadata = {
        "width": event["width"],
        "height": event["height"],
        "bytes": event["bytes"],
        "orientation": in_range("orientation", tags.get("Orientation", 1), 1, 8, warnings),
        "camera": camera(tags),
        "taken": taken(tags, warnings),
        "aperture": in_range("aperture", tags.get("FNumber"), 0.5, 128, warnings),
        "exposure": in_range("exposure", tags.get("ExposureTime"), 1e-6, 86400, warnings),
        "iso": in_range("iso", tags.get("ISOSpeedRatings"), 1, 10_000_000, warnings),
        "focal_length": in_range("focal_length", tags.get("FocalLength"), 0.1, 10_000, warnings),
        "location": location(gps, warnings),
    }
    metadata = {key: value for key, value in metadata.items() if value is not None}
    if not tags:
        warnings.append("the picture holds no EXIF data")

    # One way to write it, so that whoever has the metadata can check the signature.
    canonical = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {"metadata": metadata, "warnings": warnings,
            "signature": context.call("sign", canonical.encode())}


def camera(tags):
    make, model = str(tags.get("Make", "")), str(tags.get("Model", ""))
    return (model if model.startswith(make) else f"{make} {model}".strip()) or None


def in_range(name, value, low, high, warnings):
    if value is None:
        return None
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, (int, float)) or not low <= value <= high:
        warnings.append(f"{name}: {value!r} is not between {low} and {high}")
        return None
    return round(value, 6)


def taken(tags, warnings):
    """EXIF's "2020:01:24 23:11:53" in ISO 8601; with the zone when the camera knew it."""
    text = tags.get("DateTimeOriginal") or tags.get("DateTime")
    if text is None:
        return None
    try:
        time = datetime.datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        warnings.append(f"taken: {text!r} is not a date and time")
        return None
    if not EARLIEST <= time <= datetime.datetime.now() + datetime.timedelta(days=1):
        warnings.append(f"taken: {time.isoformat()} is not a time at which a camera can have been there")
        return None
    return time.isoformat() + str(tags.get("OffsetTimeOriginal", ""))


def location(gps, warnings):
    try:
        latitude = degrees(gps["GPSLatitude"], gps.get("GPSLatitudeRef", "N") == "S", 90)
        longitude = degrees(gps["GPSLongitude"], gps.get("GPSLongitudeRef", "E") == "W", 180)
    except KeyError:
        return None
    except (TypeError, ValueError) as error:
        warnings.append(f"location: {error}")
        return None
    return {"latitude": latitude, "longitude": longitude}


def degrees(parts, negative, limit):
    degree, minute, second = (float(part) for part in parts)
    value = degree + minute / 60 + second / 3600
    if not 0 <= value <= limit or minute >= 60 or second >= 60.001:
        raise ValueError(f"{parts} is not a place on earth")
    return round(-value if negative else value, 6)
