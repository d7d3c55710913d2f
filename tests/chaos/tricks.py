"""What a hostile or odd server may send: each trick makes bytes of a sound answer.

A trick is a function of `(random, asked, sound)` that returns what is sent instead: bytes, or
pieces that may have no end. `TRICKS` says to which answers each belongs.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, repeat
from random import Random
from typing import Any

from raw_server import Asked, Sound, Spoilt, render

from chaos.invariants import KEY

Trick = Callable[[Random, Asked, Sound], Spoilt]

_BLOCK = b"x" * 16_384
_BIG = 100_000_000
"""Bytes of a bomb, unpacked."""


def _head(sound: Sound, *more: tuple[str, str], status: str | None = None) -> bytes:
    """Write only the start of an answer, without a length."""
    empty = Sound(None, b"", sound.status if status is None else status, sound.headers)
    return render(empty, *more, length=False)


def _json(value: Any, status: str = "200 OK") -> bytes:
    return render(Sound(value, json.dumps(value).encode(), status))


def _raw_json(body: bytes) -> bytes:
    return render(Sound(None, body))


# --- Without end, or huge -------------------------------------------------------------------------


def endless_body(random: Random, _: Asked, sound: Sound) -> Iterator[bytes]:
    """A body that does not end."""
    is_chunked = random.random() < 0.5
    yield _head(sound, *([("Transfer-Encoding", "chunked")] if is_chunked else []))
    yield from repeat(b"4000\r\n" + _BLOCK + b"\r\n" if is_chunked else _BLOCK)


def endless_spaces(random: Random, _: Asked, sound: Sound) -> Iterator[bytes]:
    """A sound JSON after white space without end, or before it."""
    yield _head(sound)
    if random.random() < 0.5:
        yield sound.body
    yield from repeat(b" \n" * 8192)


def endless_head(random: Random, _: Asked, sound: Sound) -> Iterator[bytes]:
    """A status line, a header, or headers without end."""
    kind = random.choice(["status", "header", "headers", "name", "folded"])
    if kind == "status":
        yield b"HTTP/1.1 200 "
    else:
        yield _head(sound)[:-2]
    for number in count():
        match kind:
            case "headers":
                yield f"X-H{number}: {number}\r\n".encode()
            case "folded":
                yield b"X-Folded: a\r\n b\r\n\tc\r\n"
            case "header" if not number:
                yield b"X-Huge: "
            case _:
                yield b"y" * 1000


def endless_chunk(random: Random, _: Asked, sound: Sound) -> Iterator[bytes]:
    """The size of a chunk, its extension, or trailers without end."""
    yield _head(sound, ("Transfer-Encoding", "chunked"))
    kind = random.choice(["size", "extension", "trailers"])
    yield {"size": b"", "extension": b"1;x=", "trailers": b"0\r\n"}[kind]
    piece = {"size": b"0" * 1000, "extension": b"z" * 1000, "trailers": b"X-T: t\r\n"}[kind]
    yield from repeat(piece)


def endless_interim(random: Random, _: Asked, __: Sound) -> Iterator[bytes]:
    """Interim answers without end."""
    status = random.choice(["100 Continue", "102 Processing", "103 Early Hints", "199 Odd"])
    yield from repeat(f"HTTP/1.1 {status}\r\nLink: </x>\r\n\r\n".encode())


def trickle(random: Random, _: Asked, sound: Sound) -> Iterator[bytes]:
    """A sound answer of which the end does not come."""
    whole = render(sound)
    yield whole[: random.randrange(len(whole))]


def many_headers(random: Random, _: Asked, sound: Sound) -> bytes:
    """Thousands of headers, or one that is huge."""
    if random.random() < 0.5:
        return render(sound, *((f"X-{n}", "v") for n in range(random.choice([50, 5000]))))
    return render(sound, ("X-Big", "v" * random.choice([5000, 9000, 500_000])))


def cookies(random: Random, _: Asked, sound: Sound) -> bytes:
    """Cookies of all kinds; none may be sent back."""
    odd = ["a=b", "a=b; Domain=.; Path=/", "=", "a" * 5000, "x=\x01", "__Host-x=y; Secure", KEY]
    return render(sound, *(("Set-Cookie", random.choice(odd)) for _ in range(20)))


# --- Lengths and encodings ------------------------------------------------------------------------


def lengths(random: Random, _: Asked, sound: Sound) -> bytes:
    """Lengths that are wrong, or no numbers."""
    size = len(sound.body)
    text = random.choice(
        [
            f"{size + 1}",
            f"{size - 1}",
            "0",
            "-1",
            f"+{size}",
            f"0x{size:x}",
            f"{size}, {size}",
            f"{size}, {size + 1}",
            "9" * 30,
            "9" * 5000,
            "1e3",
            "",
            " ",
            "²",
            "NaN",
            str(2**63),
        ]
    )
    more = random.choice([(), (), (("Content-Length", str(size)),), (("Transfer-Encoding", "x"),)])
    return render(sound, ("Content-Length", text), *more, length=False)


def chunks(random: Random, _: Asked, sound: Sound) -> bytes:
    """Chunks whose sizes are odd."""
    size = random.choice(
        [
            b"FFFFFFFFFFFFFFFFF",
            b"-1",
            b"0x5",
            b"",
            b"5 ",
            b"5;a=b;c",
            b"+5",
            b"G",
            b"7fffffffffffffff",
        ]
    )
    encoding = random.choice(
        ["chunked", "CHUNKED", "chunked, chunked", "gzip, chunked", "identity"]
    )
    body = size + b"\r\n" + sound.body + b"\r\n0\r\n\r\n"
    return _head(sound, ("Transfer-Encoding", encoding)) + body


@cache
def _bomb(bits: int) -> bytes:
    pack = zlib.compressobj(1, zlib.DEFLATED, bits)
    return b"".join(pack.compress(_BLOCK) for _ in range(_BIG // len(_BLOCK))) + pack.flush()


def bombs(random: Random, _: Asked, sound: Sound) -> bytes:
    """A small body that is huge when it is unpacked, in any encoding; or is not what it says."""
    packed = _bomb(random.choice([31, 15, -15]))
    if random.random() < 0.2:
        packed = gzip.compress(packed)
    if random.random() < 0.2:
        packed = packed[: random.randrange(len(packed))]
    names = [
        "gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "gzip, gzip",
        "x-gzip",
        "identity",
        "né",
        "",
    ]
    value = ("Content-Encoding", random.choice([*names, "gzip", "gzip", "deflate"]))
    return render(Sound(None, packed, sound.status, sound.headers), value)


def packed(random: Random, _: Asked, sound: Sound) -> bytes:
    """A sound body, packed, by a name that is right or wrong."""
    body = random.choice([gzip.compress, zlib.compress, lambda body: body])(sound.body)
    value = ("Content-Encoding", random.choice(["gzip", "deflate", "br", "zstd", "identity"]))
    return render(Sound(None, body, sound.status, sound.headers), value)


# --- Statuses and headers -------------------------------------------------------------------------


def statuses(random: Random, _: Asked, sound: Sound) -> bytes:
    """Any status, with any body."""
    number = random.choice([*range(200, 600), 0, 99, 600, 999])
    body = random.choice([sound.body, b"", b"<html><title>no</title>", b"\xff\xfe", b"null"])
    return render(Sound(None, body, f"{number} Odd", sound.headers))


def status_lines(random: Random, _: Asked, sound: Sound) -> bytes:
    """Status lines that are none."""
    line = random.choice(
        [
            b"HTTP/0.9 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/9999.1 200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.1 200",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 -200 OK",
            b"HTTP/1.1 \xc2\xb2\xc2\xb2\xc2\xb2 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 200 " + b"\xff\x00\x01\x1b[31m",
            b"ICY 200 OK",
            b"",
            b"\x00",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade",
        ]
    )
    return line + b"\r\n" + render(sound).partition(b"\r\n")[2]


def interim(random: Random, _: Asked, sound: Sound) -> bytes:
    """A few interim answers, then the sound one."""
    status = random.choice(["100 Continue", "102 Processing", "103 Early Hints"])
    one = f"HTTP/1.1 {status}\r\nContent-Length: {random.choice(['0', '5'])}\r\n\r\n"
    return one.encode() * random.randrange(1, 20) + render(sound)


def two_answers(random: Random, _: Asked, sound: Sound) -> bytes:
    """More answers than were asked for."""
    return render(sound) * random.randrange(2, 4)


def redirects(random: Random, asked: Asked, sound: Sound) -> bytes:
    """Redirects to anywhere; none may be followed."""
    number = random.choice([300, 301, 302, 303, 304, 305, 307, 308])
    place = random.choice(
        [
            asked.target,
            "http://127.0.0.1:9/elsewhere",
            "//127.0.0.1:9/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://[::1",
            f"http://x:{KEY}@127.0.0.1:9/",
            "/" * 5000,
            "\x1b[2J",
            "",
            "http://\xff/",
        ]
    )
    return render(Sound(None, sound.body, f"{number} Odd", sound.headers), ("Location", place))


def odd_headers(random: Random, _: Asked, sound: Sound) -> bytes:
    """Headers that are none, or hold odd bytes."""
    line = random.choice(
        [
            b"No-Colon",
            b": no name",
            b"X-Bytes: \xff\xfe\x80",
            b"X-Nul: a\x00b",
            b"X Space: a",
            b"X-\xc3\xa9: a",
            b"X-Escape: \x1b[2J\x07",
            b" folded: a",
            b"X-Cr: a\rb",
            b"Content-Type: \xff",
            b"Content-Type: application/json; charset=utf-16",
            b"Content-Type: text/html; charset=rot13",
            b"Connection: close, keep-alive, upgrade",
            b"Keep-Alive: timeout=-1, max=0",
        ]
    )
    first, _, rest = render(sound).partition(b"\r\n")
    return first + b"\r\n" + line + b"\r\n" + rest


def echoes(random: Random, asked: Asked, sound: Sound) -> bytes:
    """The key, said back wherever a server can say it."""
    said = asked.headers.get("authorization", KEY)
    value = random.choice(
        [
            {"error": {"message": f"bad key {said}", "code": said}, "request_id": said},
            {"code": 3, "message": f"bad key {said}"},
            {"error": said},
            {**sound.value, "state": said, "status": {"code": said, "message": said}}
            if isinstance(sound.value, dict)
            else [said],
            {said: said},
            {"name": said, "state": said},
        ]
    )
    status = random.choice(
        [sound.status, "400 Bad", "401 No", "403 No", "404 No", "500 No", "429 No"]
    )
    body = json.dumps(value).encode()
    return render(Sound(None, body, status, sound.headers), ("X-Request-Id", said))


TIMES = [
    "0",
    "-1",
    "99999999999",
    "1e309",
    "nan",
    "inf",
    "\u0663",
    "9" * 400,
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Mon, 14 Sep 2026 09:00:00 +9999",
    "Mon, 14 Sep 99999999999999999999 09:00:00 GMT",
    "\xff",
    "",
    "0.0000001",
]


def waits(random: Random, _: Asked, sound: Sound) -> bytes:
    """A Retry-After and a Date that nobody can mean."""
    status = random.choice([sound.status, "429 Too Many", "503 Busy", "500 Odd", "202 Later"])
    headers = ("Retry-After", random.choice(TIMES)), ("Date", random.choice(TIMES))
    return render(Sound(None, sound.body, status, sound.headers), *headers)


def request_ids(random: Random, _: Asked, sound: Sound) -> bytes:
    """A request id of any kind, on an error."""
    text = random.choice(["\x1b]0;x\x07", "é" * 2000, "a\tb", "<script>", "\u202e" * 50])
    status = random.choice(["400 Bad", "500 No", "404 No"])
    return render(Sound(None, sound.body, status, sound.headers), ("X-Request-Id", text))


# --- JSON -----------------------------------------------------------------------------------------

NUMBERS = [
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e-999",
    b"9" * 5000,
    b"-" + b"9" * 5000,
    b"0." + b"3" * 5000,
    str(2**63).encode(),
    str(2**64).encode(),
    str(-(2**63) - 1).encode(),
    b"1E400",
    b"0x10",
    b"01",
    b"+1",
    b"1.",
]


def nesting(random: Random, _: Asked, sound: Sound) -> bytes:
    """Brackets within brackets."""
    depth = random.choice([100, 1000, 100_000])
    opening, closing = random.choice([(b"[", b"]"), (b'{"a":', b"}")])
    deep = opening * depth + b"1" + closing * depth * random.choice([0, 1])
    if random.random() < 0.5 or not isinstance(sound.value, dict):
        return _raw_json(deep)
    return _raw_json(sound.body[:-1] + b', "deep": ' + deep + b"}")


def numbers(random: Random, _: Asked, sound: Sound) -> bytes:
    """A number that is none, or too large, at any member."""
    number = random.choice(NUMBERS)
    if random.random() < 0.2:
        return _raw_json(number)
    return _raw_json(
        json.dumps(_with(random, sound.value, "\x00N"))
        .replace('"\\u0000N"', "N", 1)
        .encode()
        .replace(b"N", number, 1)
    )


def texts(random: Random, _: Asked, sound: Sound) -> bytes:
    """Text in another encoding, or in none."""
    body = sound.body
    choices = [
        body.replace(b"a", b"\xff", 3),
        body.replace(b'"', b"\xed\xa0\x80", 2),
        b"\xef\xbb\xbf" + body,
        body.decode("latin-1").encode("utf-16"),
        body.decode("latin-1").encode("utf-32"),
        body.replace(b":", b":\x00", 1),
        body[:-1],
        body + b"}",
        body * 2,
        b"",
        b" ",
        b"null",
        b"true",
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b"\x00" * 100,
        b"<html><head><title>\x1b[31m</title>",
        b"{'name': 1}",
        b"/* */ " + body,
        body.replace(b",", b",,", 1),
        b"data: " + body + b"\n\n",
    ]
    return _raw_json(random.choice(choices))


def members(random: Random, _: Asked, sound: Sound) -> bytes:
    """Any member with any value, or an array or object of very many."""
    if random.random() < 0.3:
        many = random.choice([[None] * 100_000, {str(n): n for n in range(30_000)}, "x" * 900_000])
        return _json(_with(random, sound.value, many))
    value = sound.value
    for _ in range(random.choice([1, 1, 3])):
        value = _with(random, value, random.choice(VALUES))
    return _json(value)


def repeated_members(random: Random, _: Asked, sound: Sound) -> bytes:
    """The same member many times."""
    name = random.choice(["name", "state", "batchInferenceJobs", "x"])
    more = ", ".join(
        f'"{name}": {random.choice([1, "null", "[]", chr(34) * 2])}' for _ in range(999)
    )
    return _raw_json(b"{" + more.encode() + b", " + sound.body[1:])


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    0.5,
    2**53 + 1,
    -(2**70),
    1e300,
    "",
    " ",
    "x",
    "\ud800",
    "\x00\x1b[31m\r\n",
    "\u202e\u2028",
    "é" * 3000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    "JOB_STATE_COMPLETED",
    "JOB_STATE_\x1b[2J",
    "JOB_STATE_" + "X" * 3000,
    "9999-12-31T23:59:60Z",
    "0000-00-00T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "2026-09-14T09:09:00." + "1" * 1000 + "Z",
    "2026-09-14T09:09:00",
    "-9999999999s",
    "1e999s",
    "nans",
    "315576000001s",
    "accounts/other/batchInferenceJobs/job-x",
    "accounts/acme/batchInferenceJobs/../../x",
    "accounts/acme/batchInferenceJobs/" + "x" * 5000,
    "accounts/acme/datasets/../../../etc",
    "accounts/acme/datasets/\x00",
    "../../etc/passwd",
    "http://127.0.0.1:9/",
    "ENCRYPTION_STATE_CMEK",
]


def _with(random: Random, value: Any, new: Any) -> Any:
    """Put a value at a random place of another."""
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        return {**value, key: _with(random, value[key], new)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], _with(random, value[at], new), *value[at + 1 :]]
    return new


# --- Listings, files, URLs ------------------------------------------------------------------------


def endless_pages(_: Random, asked: Asked, sound: Sound) -> bytes:
    """Pages without end, empty, each with a token that is new."""
    number = len(asked.query.get("pageToken", ""))
    return _json({"totalSize": 1, "nextPageToken": "t" * (number + 1)})


def tokens(random: Random, asked: Asked, sound: Sound) -> bytes:
    """Tokens that never end, are huge, or are no text; pages that are empty, or always the same."""
    number = len(asked.query.get("pageToken", ""))
    token = random.choice(
        ["t" * (number + 1), "same", "t" * 500_000, "a\r\nX: b", "\ud800", "é&pageToken=", 5, ["x"]]
    )
    value = dict(sound.value)
    kept = random.choice([value, {}, {"totalSize": random.choice([-1, "x", 2**80])}])
    return _json({**kept, "nextPageToken": token})


FILE_NAMES = [
    "dataset/out/../../../etc/passwd",
    "dataset/out/..",
    "dataset/out/.",
    "/etc/passwd",
    "..\\..\\x",
    "dataset/out/a\x00b",
    "dataset/out/" + "n" * 256,
    "dataset/out/" + "é" * 200,
    "dataset/out/" + "d/" * 500 + "x",
    "dataset/out/CON",
    "dataset/out/c:x",
    "dataset/out/\u202egnp.exe",
    "dataset/out/\ud800",
    "dataset/out/ ",
    "dataset/out/-rf",
    "dataset/out/%2e%2e%2fx",
    "dataset/other/x",
    "out",
    "",
    "/",
    "dataset/out/",
    "dataset/out/x\n",
    "dataset/out/.BIJOutputSet.jsonl.part",
    "dataset/out/BIJOUTPUTSET.JSONL",
]


def file_names(random: Random, asked: Asked, sound: Sound) -> bytes:
    """Names that lead elsewhere, are too long, or are the same."""
    urls = sound.value["filenameToSignedUrls"]
    url = next(iter(urls.values()))
    names = [random.choice(FILE_NAMES) for _ in range(random.choice([1, 1, 3]))]
    if random.random() < 0.1:
        names = [f"dataset/out/{n}" for n in range(200)]
    kept = urls if random.random() < 0.5 else {}
    return _json({"filenameToSignedUrls": {**kept, **dict.fromkeys(names, url)}})


def urls(random: Random, asked: Asked, sound: Sound) -> bytes:
    """URLs that are none, or lead elsewhere."""
    (name, url), *_ = sound.value["filenameToSignedUrls"].items()
    rest = url.removeprefix("http://")
    odd = random.choice(
        [
            "file:///etc/passwd",
            "javascript:x",
            "data:,x",
            f"ftp://{rest}",
            f"https://{rest}",
            f"//{rest}",
            f"HTTP://{rest}",
            f"http://user:secret@{rest}",
            "/files/x",
            "http://[::1",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:9/",
            "http://",
            "http:///x",
            "http://xn--/",
            "http://" + "a" * 300 + ".invalid/",
            "http://a..b/",
            "http://ex\u2100.invalid/",
            url + "\r\nX-Injected: 1",
            url + "#" + "f" * 100,
            url + "&x=" + "y" * 100_000,
            url.replace("/files", "/files/\x00"),
            url.replace("/files", "/\u202e"),
            "\ud800",
            " " + url + " ",
            "",
            7,
            None,
        ]
    )
    return _json({"filenameToSignedUrls": {name: odd}})


def objects(random: Random, asked: Asked, sound: Sound) -> bytes:
    """A file with hashes, ranges and validators that are odd."""
    status = random.choice(["200 OK", "200 OK", "206 Partial", "416 No", "412 No", "304 Same"])
    big = 2**63
    headers = {
        "x-goog-hash": ["md5=", "md5=AAAA", "md5=" + "A" * 5000, "crc32c=x,md5=\xff", "md5=é"],
        "Content-Range": [
            "bytes 0-1/2",
            f"bytes 0-{big}/{big + 1}",
            "bytes */0",
            "bytes 5-1/3",
            "bytes \u0660-\u0661/\u0662",
            "x",
            "bytes 0-0/" + "9" * 5000,
        ],
        "ETag": ['"a"', "W/x", "", '"' + "e" * 5000 + '"', "\xff", '"a\tb"'],
        "x-goog-stored-content-length": ["-1", "9" * 50],
    }
    some = random.sample(sorted(headers), random.randrange(1, 4))
    more = [(name, random.choice(headers[name])) for name in some]
    return render(Sound(None, sound.body, status, sound.headers), *more)


def rows(random: Random, asked: Asked, _: Sound) -> Spoilt:
    """Rows that are none, are odd, or are huge."""
    good = b'{"custom_id": "row-0", "response": {"choices": [{"message": {"content": "x"}}]}}\n'
    odd = [
        b"\xff\xfe\n",
        b"null\n",
        b"[]\n",
        b'"x"\n',
        b"{}\n",
        b"\n\n\n",
        b"\r\n",
        good * 3,
        good[:-2],
        good.replace(b"row-0", b"\\ud800"),
        good.replace(b"row-0", b"r" * 100_000),
        good.replace(b'"row-0"', b"7"),
        good.replace(b'"row-0"', b"null"),
        good.replace(b'"choices"', b'"choices": 5, "y"'),
        good.replace(b'[{"message"', b'[null, {"message"'),
        b'{"custom_id": "row-0", "error": {"code": 1e400, "message": ["x"]}}\n',
        b'{"custom_id": "row-0", "error": "x", "response": {}}\n',
        b'{"custom_id": "row-1", "response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"custom_id": "row-1", "response": {"n": ' + b"9" * 10_000 + b"}}\n",
        b"\xef\xbb\xbf" + good,
        b"\x00" * 5000 + b"\n",
        b"x" * 5_000_000 + b"\n",
        b" " * 5_000_000 + good,
    ]
    body = b"".join(random.choice([*odd, good]) for _ in range(random.randrange(1, 8)))
    return render(Sound(None, body, headers=()))


_JSON = ("accounts", "list_jobs", "create_job", "get_job", "delete_job", "list_datasets",
         "create_dataset", "get_dataset", "delete_dataset", "upload", "upload_urls", "validate",
         "download_urls")  # fmt: skip
_ANY = (*_JSON, "file", "put")
_LISTS = ("list_jobs", "list_datasets")
_URLS = ("upload_urls", "download_urls")

TRICKS: tuple[tuple[Trick, tuple[str, ...]], ...] = (
    (endless_body, _ANY),
    (endless_spaces, _JSON),
    (endless_head, _ANY),
    (endless_chunk, _ANY),
    (endless_interim, _ANY),
    (trickle, _ANY),
    (many_headers, _ANY),
    (cookies, _ANY),
    (lengths, _ANY),
    (chunks, _ANY),
    (bombs, _ANY),
    (packed, _ANY),
    (statuses, _ANY),
    (status_lines, _ANY),
    (interim, _ANY),
    (two_answers, _ANY),
    (redirects, _ANY),
    (odd_headers, _ANY),
    (echoes, _JSON),
    (waits, _ANY),
    (request_ids, _ANY),
    (nesting, _JSON),
    (numbers, _JSON),
    (texts, _JSON),
    (members, _JSON),
    (members, _JSON),
    (repeated_members, _JSON),
    (endless_pages, _LISTS),
    (tokens, _LISTS),
    (file_names, ("download_urls",)),
    (file_names, ("download_urls",)),
    (urls, _URLS),
    (urls, _URLS),
    (objects, ("file",)),
    (objects, ("file",)),
    (rows, ("file",)),
    (rows, ("file",)),
)
"""Each trick, with the routes whose answers it takes the place of."""
