"""Damaged and hostile bytes made from good ones: the same seed and number give the same bytes.

`mutate` knows nothing of a format: it flips bits, cuts, splices, doubles chunks and inflates what
may be a length. `mutate_npz` damages a member and packs the archive anew, so that checksums are
right and the reader goes deeper; `mutate_text` and `mutate_json` change words and values.
"""

import copy
import io
import json
import random
import re
import struct
import zipfile
from typing import Any

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 10**12, 2**63 - 1)
NUMBERS += (2**64 - 1,)
WORDS = (
    *("null", "true", "[]", "{}", "''", '""', "-1", "0", "1e999", "-1e-999", "NaN", "nan", "inf"),
    *("1" * 400, "0x" + "f" * 64, "1:2:3", "2001-99-99", "!!int ''", "!!bool x", "!!float ''"),
    *("!!timestamp x", "!!binary =", "!!python/object/apply:os.system ['exit']", "!!set {a, b}"),
    *("&a [*a]", "&a {<<: *a}", "*b", "<<: 1", "? [a]: b", "..", "../../../up", "/etc/passwd"),
    *("~", "\\u0000", "\\ud800", "\x1b[2J", "<script>x</script>", "a" * 300, "é", "\n", "\r", ","),
    *('"', "'", "{", "}", "[", "]", ": ", "- ", "#", "|", "\t", "\x00", "%", "=1+1", "9" * 25),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.5, 1e308, float("nan"), float("inf"), 10**30, "", "a"),
    *([], {}, [None], [[]], [1, 2], {"a": 1}, {"": {}}, "\x00", "\x1b[2J\n", "\ud800", "../../up"),
    *("/etc/passwd", "<script>x</script>", "a" * 5000, [1] * 50, {"a": [{"b": [None]}]}),
)


def mutate(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return the bytes with one to four random damages."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_DAMAGES)(out, rng, other or data)
    return bytes(out)


def _flip(out: bytearray, rng: random.Random, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _truncate(out: bytearray, rng: random.Random, other: bytes) -> None:
    del out[rng.randrange(len(out) + 1) :]


def _overwrite(out: bytearray, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(out) + 1)
    size = rng.choice((1, 2, 4, 16, 64))
    out[start : start + size] = bytes(
        rng.choice((0, 0xFF, rng.randrange(256))) for _ in range(size)
    )


def _delete(out: bytearray, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(out) + 1)
    del out[start : start + rng.choice((1, 2, 8, 64, 512))]


def _double(out: bytearray, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(out) + 1)
    chunk = out[start : start + rng.choice((1, 4, 32, 256, 2048))]
    out[start:start] = chunk * rng.choice((1, 1, 3))


def _splice(out: bytearray, rng: random.Random, other: bytes) -> None:
    start, size = rng.randrange(len(other) + 1), rng.choice((4, 32, 256, 4096))
    place = rng.randrange(len(out) + 1)
    chunk = other[start : start + size]
    out[place : place + (len(chunk) if rng.random() < 0.5 else 0)] = chunk


def _inflate(out: bytearray, rng: random.Random, other: bytes) -> None:
    """Write a large or odd number where a length may be, of 2, 4 or 8 bytes."""
    code, size = rng.choice((("H", 2), ("I", 4), ("Q", 8)))
    if len(out) < size:
        return
    # Most lengths stand in the first or the last part of a file.
    near = rng.choice((min(len(out), 600), len(out)))
    place = rng.randrange(near - size + 1)
    if rng.random() < 0.3:
        place = len(out) - size - place
    (now,) = struct.unpack_from(f"<{code}", out, place)
    value = rng.choice((*NUMBERS, now + 1, now * 2, now - 1, now * 1000))
    struct.pack_into(f"{rng.choice('<<<>')}{code}", out, place, value % 2 ** (8 * size))


_DAMAGES = (_flip, _flip, _truncate, _overwrite, _delete, _double, _splice, _inflate, _inflate)

_SHAPES = ("()", "(0,)", "(1,)", "(-1,)", "(10**12,)", "(999999999999, 16, 16)", "(2, 2, 2, 2)")
_SHAPES += ("(16, 16)", "(3,) * 99", "(1.5,)", "(True,)", "None", "'x'", "(2**63, 2**63)")
_TYPES = ("<f4", "<f8", "<c8", "<i8", "|b1", "<U9", "|O", "|S3", "|V8", "<M8[s]", ">f4", "|u1", "x")


def mutate_npz(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return an archive with a damaged, renamed, doubled or missing member and right checksums."""
    members = _members(data)
    name = rng.choice(list(members))
    what = rng.random()
    if what < 0.4:
        members[name] = mutate(members[name], rng, rng.choice(list(members.values())))
    elif what < 0.7:
        members[name] = _with_header(members[name], rng)
    elif what < 0.8:
        del members[name]
    elif what < 0.9:
        members[rng.choice(("../../up.npy", "/abs.npy", "a\x1b[2J\n.npy", "a" * 999, ""))] = (
            members.pop(name)
        )
    else:
        members[name] = rng.choice(list(members.values()))
    packed = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(packed, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member or "x", content)
    return packed.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with_header(array: bytes, rng: random.Random) -> bytes:
    """Return an .npy whose header claims another shape or type."""
    size = int.from_bytes(array[8:10], "little")
    header = array[10 : 10 + size].decode("latin-1")
    if rng.random() < 0.5:
        shape = rng.choice(_SHAPES)
        header = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {shape}", header)
    else:
        kind = rng.choice(_TYPES)
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': '{kind}'", header)
    head = header.encode("latin-1")
    return array[:8] + len(head).to_bytes(2, "little") + head + array[10 + size :]


def mutate_text(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return a text in which words were exchanged, or bytes damaged."""
    if rng.random() < 0.3:
        return mutate(data, rng, other)
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(re.finditer(r"[\w.+-]+", text))
        if not places:
            break
        found, word = rng.choice(places), rng.choice(WORDS)
        text = (
            text[: found.start()]
            + word
            + text[found.end() if rng.random() < 0.8 else found.start() :]
        )
    return text.encode("utf-8", "surrogateescape")


def mutate_json(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return JSON in which a value, a key or a list was changed; sometimes damaged bytes."""
    if rng.random() < 0.15:
        return mutate(data, rng, other)
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        places = _places(tree)
        if not places:
            break
        inside, key = rng.choice(places)
        what = rng.random()
        if what < 0.7:
            inside[key] = copy.deepcopy(rng.choice(VALUES))
        elif what < 0.85:
            del inside[key]
        elif isinstance(inside, dict):
            inside[str(rng.choice(VALUES))[:99]] = inside.pop(key)
        else:
            inside.append(copy.deepcopy(rng.choice(VALUES)))
    return json.dumps(tree).encode()


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in plain data."""
    found: list[tuple[Any, Any]] = []
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inner:
        found.append((tree, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found


def mutate_tensors(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return a safetensors file whose header says something else, with its right length."""
    if rng.random() < 0.4:
        return mutate(data, rng, other)
    size = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + size].rstrip(), rng)
    claimed = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**64
    return claimed.to_bytes(8, "little") + header + data[8 + size :]
