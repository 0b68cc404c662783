"""The path of a push: the labels of a group, as the Pushgateway takes them. Pure."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from urllib.parse import unquote_to_bytes

from exporter.pushes.family import malformed

BASE64 = "@base64"
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_BASE64_TEXT = re.compile(r"[A-Za-z0-9_-]*")


def grouping(path: str, telemetry_path: str) -> dict[str, str]:
    """Return the labels of `/metrics/job/JOB{/LABEL/VALUE}`, still percent-encoded; raise Refused.

    As at the Pushgateway, an encoded slash separates as well, so that values with slashes need `LABEL@base64`, in the
    alphabet for URLs and with or without padding.
    """
    parts = _decoded(unquote_to_bytes(path)).removeprefix(f"{telemetry_path}/").split("/")
    if len(parts) == 3 and not parts[2]:  # a slash at the end
        parts.pop()
    if len(parts) % 2:
        raise malformed("the path has a label without a value: it must be /job/JOB{/LABEL/VALUE}")
    labels: dict[str, str] = {}
    for name, value in zip(parts[2::2], parts[3::2], strict=True):
        label = name.removesuffix(BASE64)
        if not _LABEL.fullmatch(label):
            raise malformed(f"{label!r} in the path is no name of a label: letters, digits and _, the first no digit")
        labels[label] = _value(name, value)
    job = _value(*parts[:2])
    if not job:
        raise malformed("the name of the job is empty")
    return {**labels, "job": job}


def _value(name: str, text: str) -> str:
    if not name.endswith(BASE64):
        return text
    text = text.rstrip("=")
    try:
        if not _BASE64_TEXT.fullmatch(text):
            raise malformed(f"the value of {name} in the path is not in the base64 alphabet for URLs")
        return _decoded(a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)))
    except Error:
        raise malformed(f"the value of {name} in the path is no base64") from None


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise malformed("the path is not UTF-8") from None
