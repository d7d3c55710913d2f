"""Requests made of prompts, messages, images and records."""

import base64
import csv
import datetime as dt
import json

import orjson
import pytest
from clients import client_of
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import ConfigurationError, InputRowsError, LocalFileError, chat, chats

MODEL = "accounts/fireworks/models/demo-8b"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
RECORDS = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]


class Missing:
    """As pandas.NA: a comparison with it is neither true nor false."""

    def __ne__(self, _):
        return self

    def __bool__(self):
        raise TypeError("neither")

    __hash__ = None


def prompts(requests):
    """The text of each request's one message."""
    return [request["body"]["messages"][0]["content"] for request in requests]


# --- chat ---------------------------------------------------------------------------------------


def test_a_prompt_is_a_message_of_the_user():
    """The request is what one would write by hand."""
    assert chat("a", "Hello.") == {
        "custom_id": "a",
        "body": {"messages": [{"role": "user", "content": "Hello."}]},
    }


def test_messages_and_members_are_passed_on():
    """The usual members and any others; what is None is left out."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
    usual = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "response_format": {"type": "json_object"},
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 0,
        "n": 2,
        "reasoning_effort": "low",
    }
    others = {"seed": 7, "logit_bias": {"1": 2.5}, "stream": False}
    body = chat("a", messages, **usual, **others, stop=None)["body"]
    assert body == {"messages": messages, **usual, **others}
    assert "max_tokens" not in chat("a", "Hi.", max_tokens=None)["body"]


def test_the_request_is_a_copy():
    """What the caller changes later does not change the request, and the caller's own stay."""
    parts = [{"type": "text", "text": "Hi."}]
    messages = [{"role": "user", "content": parts}]
    tools = [{"type": "function"}]
    request = chat("a", messages, images=["https://x.example/1.png"], tools=tools)
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "Hi."}]}]
    tools.append({})
    parts.append({})
    assert len(request["body"]["tools"]) == 1
    assert len(request["body"]["messages"][0]["content"]) == 2


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text):
    """A prompt comes out of the request's JSON as it went in."""
    line = orjson.dumps(chat("a", text))
    assert json.loads(line)["body"]["messages"][0]["content"] == text


@pytest.mark.parametrize(
    ("arguments", "body", "complaint"),
    [
        (("", "x"), {}, "request '': custom_id must be a string that is not empty, not ''"),
        ((7, "x"), {}, "request 7: custom_id must be a string that is not empty, not 7"),
        (("a", []), {}, "messages must be a list that is not empty, not []"),
        (("a", None), {}, "give a prompt as a string, or a list of messages, not None"),
        (("a", {"role": "user"}), {}, "or a list of messages, not {'role': 'user'}"),
        (("a", b"x"), {}, "give a prompt as a string"),
        (("a", ["x"]), {}, "message 0 must be an object, not 'x'"),
        (("a", [{"role": "pirate"}]), {}, "message 0 has role 'pirate'; the server takes system"),
        (("a", "x"), {"stream": True}, "stream, which a batch cannot: leave it out"),
        (("a", "x"), {"messages": []}, "as the second argument, not as messages="),
        (("a", "x"), {"prompt_token_ids": [1]}, "both messages and prompt_token_ids"),
        (("a", "x"), {"extra_body": {"seed": 1}}, "extra_body"),
        (("a", "x"), {"seed": {1}}, "request 'a': 'seed' cannot be written as JSON"),
        (("a", "x"), {"seed": float("nan")}, "request 'a': 'seed' cannot be written as JSON: nan"),
        (("a", "\ud800"), {}, "request 'a': 'messages' cannot be written as JSON"),
        (("\ud800", "x"), {}, "'custom_id' cannot be written as JSON"),
        (("a", "x"), {"max_tokens": 0}, "max_tokens must be a whole number of at least 1, not 0"),
        (("a", "x"), {"max_tokens": 1.5}, "max_tokens must be a whole number"),
        (("a", "x"), {"temperature": -1}, "temperature must be a number at least 0, not -1"),
        (("a", "x"), {"top_p": 2}, "top_p must be a number at least 0 and at most 1, not 2"),
        (("a", "x"), {"top_k": -1}, "top_k must be a whole number of at least 0, not -1"),
        (("a", "x"), {"n": 0}, "n must be a whole number of at least 1, not 0"),
        (("a", "x"), {"tools": {}}, "tools must be a list of tools, not {}"),
        (("a", "x"), {"response_format": dict}, "response_format must be a mapping, as in"),
        (("a", "x"), {"reasoning_effort": 0.5}, "reasoning_effort must be a word"),
    ],
)
def test_bad_input_is_refused_at_once(arguments, body, complaint):
    """By an error that names the value, and what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        chat(*arguments, **body)
    assert complaint in str(caught.value)


def test_a_request_that_no_row_may_hold_is_refused():
    """With its size, and the most that a request may have."""
    with pytest.raises(ConfigurationError, match=r"has 17\.0 MiB, and a request has at most 16"):
        chat("a", "x" * (17 * 1024**2))


# --- Images -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"BM\n\0\0\0\0\0\0\0", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"P6\n1 1\n255\n", "image/x-portable-pixmap"),
    ],
)
def test_a_file_becomes_a_data_url(tmp_path, data, media_type):
    """Its type is that of its content, whatever its name; the text stands before it."""
    path = tmp_path / "image.txt"
    path.write_bytes(data)
    for image in (path, str(path)):
        (message,) = chat("a", "What is it?", images=[image])["body"]["messages"]
        url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        assert message == {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": url}},
            ],
        }


@pytest.mark.parametrize("url", ["http://x/1", "HTTPS://x/2", "data:image/webp;base64,AAAA"])
def test_a_url_is_passed_on(url):
    """As it is."""
    (message,) = chat("a", "", images=[url])["body"]["messages"]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": url}}]


def test_images_belong_to_the_last_message_of_the_user():
    """Behind what the message has already; the other messages stay as they are."""
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
        {"role": "assistant", "content": "third"},
    ]
    first, second, third = chat("a", messages, images=["data:,1", "data:,2"])["body"]["messages"]
    assert (first, third) == (messages[0], messages[2])
    assert [part["type"] for part in second["content"]] == ["text", "image_url", "image_url"]


def test_a_missing_image_is_named(tmp_path):
    """By the error of files that cannot be read."""
    with pytest.raises(LocalFileError, match=r"cannot read '.*nope\.png': No such file"):
        chat("a", "x", images=[tmp_path / "nope.png"])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is an empty file"),
        (b"RIFF\0\0\0\0WEBP", "is no PNG, JPEG, GIF, BMP, TIFF or PPM file: convert the image"),
        (PNG + b"\0" * (16 * 1024**2), "has 16.0 MiB, and a request has at most 16 MiB"),
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path, data, complaint):
    """With what is wrong with it."""
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        chat("a", "x", images=[path])
    assert str(caught.value).startswith(f"image {str(path)!r} ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "images", "complaint"),
    [
        ("x", "cat.png", "images must be a list of paths and URLs, not 'cat.png'"),
        ("x", 5, "images must be a list of paths and URLs, not 5"),
        ("x", [b"\x89PNG"], "an image must be a path or a URL, not b'"),
        ("x", ["s3://b/1.png"], "image 's3://b/1.png': s3:// URLs are not read; give a path"),
        ([{"role": "system"}], ["data:,"], "need a message with the role 'user', and there is"),
        ([{"role": "user", "content": 5}], ["data:,"], "must be a string or a list of parts"),
    ],
)
def test_wrong_images_are_refused(messages, images, complaint):
    """Before anything is read."""
    with pytest.raises(ConfigurationError) as caught:
        chat("a", messages, images=images)
    assert complaint in str(caught.value)


# --- chats --------------------------------------------------------------------------------------


def test_a_template_is_filled_from_each_record():
    """In their order, with the ids of a column, and the same body for all."""
    first, second = chats(RECORDS, "{{Say}} {text}!", id_column="id", max_tokens=5)
    assert first == chat("a", "{Say} one!", max_tokens=5)
    assert second == chat("b", "{Say} two!", max_tokens=5)


def test_records_without_ids_are_numbered():
    """By ids whose order is the order of the records."""
    ids = [request["custom_id"] for request in chats([{"text": "x"}] * 11, "{text}")]
    assert ids[0] == "row-00000001"
    assert ids[10] == "row-00000011"
    assert sorted(ids) == ids


def test_an_id_may_be_a_whole_number():
    """As data frames have them."""
    (request,) = chats([{"id": 7, "text": "x"}], "{text}", id_column="id")
    assert request["custom_id"] == "7"


def test_values_may_have_a_format():
    """As in `str.format_map`; any name of a column will do."""
    record = {"price": 2.5, "the day": dt.date(2026, 11, 30), "who": "me"}
    template = "{price:.2f} on {the day:%d %B} for {who!r} ({price})"
    assert prompts(chats([record], template)) == ["2.50 on 30 November for 'me' (2.5)"]


def test_images_are_the_images_of_each_request():
    """Behind its own text."""
    requests = [*chats(RECORDS, "{text}", images=["data:,1"])]
    assert requests == [
        chat("row-00000001", "one", images=["data:,1"]),
        chat("row-00000002", "two", images=["data:,1"]),
    ]


def test_records_are_read_while_requests_are():
    """One by one: there may be more of them than memory."""

    def records():
        yield RECORDS[0]
        raise AssertionError("too early")

    assert next(chats(records(), "{text}"))["custom_id"] == "row-00000001"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{}", "template '{}': {} is a position: write the name of a column, as in {text}"),
        ("{0}", "{0} is a position"),
        ("{text.__class__}", "{text.__class__} is an attribute or an index, which a template may"),
        ("{text[0]}", "{text[0]} is an attribute or an index"),
        ("{text!x}", "has the conversion 'x'; there are r, s and a"),
        ("{text:{id}}", "has the format '{id}', which names another column"),
        ("{text:99999}", "has the format '99999', which is too wide"),
        ("{text", "template '{text': expected '}' before end of string; a brace of the text is"),
        ("Summarise", "template 'Summarise' names no column"),
        (5, "template must be a string, not 5"),
    ],
)
def test_a_bad_template_is_refused_at_once(template, complaint):
    """Before a record is read."""
    with pytest.raises(ConfigurationError) as caught:
        chats(iter(()), template)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("records", "complaint"),
    [("rows.csv", "not 'rows.csv'"), ({"text": "x"}, "not {'text': 'x'}"), (5, "not 5")],
)
def test_what_holds_no_records_is_refused_at_once(records, complaint):
    """A path, a single record, a number."""
    with pytest.raises(ConfigurationError, match="records must be mappings") as caught:
        chats(records, "{text}")
    assert complaint in str(caught.value)


def test_a_bad_body_is_refused_at_once():
    """It is the same for all records."""
    with pytest.raises(ConfigurationError, match="max_tokens must be"):
        chats(iter(()), "{text}", max_tokens=0)


@pytest.mark.parametrize(
    ("record", "template", "complaint"),
    [
        (
            {"id": "a", "text": "x"},
            "{txt}",
            "no column 'txt', which the template names; its columns: id, text; did you mean '",
        ),
        ({"id": "a"}, '{"label": 1}', "a brace of the text is doubled: '{{'"),
        ({"id": "a", "text": None}, "{text}", "record 1 has no value for {text}, only None"),
        ({"id": "a", "text": float("nan")}, "{text}", "record 1 has no value for {text}, only nan"),
        ({"id": "a", "text": Missing()}, "{text}", "record 1 has no value for {text}"),
        ({"id": "a", "text": "x"}, "{text:.2f}", "record 1: 'x' cannot be formatted as {text:.2f}"),
        ({"text": "x"}, "{text}", "record 1 has no column 'id', which its id is to come from; "),
        ({"id": "", "text": "x"}, "{text}", "the column 'id', must be a string that is not empty"),
        ({"id": None, "text": "x"}, "{text}", "or a whole number, not None"),
        ({"id": True, "text": "x"}, "{text}", "or a whole number, not True"),
        ({"id": 1.0, "text": "x"}, "{text}", "or a whole number, not 1.0"),
        ("text", "{text}", "record 1 must be a mapping, as csv.DictReader gives it, not 'text'"),
    ],
)
def test_a_bad_record_is_named(record, template, complaint):
    """By its number, with its own columns where a name is missing."""
    with pytest.raises(ConfigurationError) as caught:
        [*chats([record], template, id_column="id")]
    assert complaint in str(caught.value)


def test_an_array_is_a_value():
    """Though its comparison is neither true nor false, as that of numpy's."""

    class Array:
        def __ne__(self, _):
            return self

        def __bool__(self):
            raise ValueError("ambiguous")

        def __str__(self):
            return "[1 2]"

        __hash__ = None

    assert prompts(chats([{"text": Array()}], "{text}")) == ["[1 2]"]


# --- With a client ------------------------------------------------------------------------------


async def test_requests_run(emulator, tmp_path):
    """Rows of a csv.DictReader come back as responses, by the ids of a column."""
    path = tmp_path / "data.csv"
    path.write_text("id,text\na,one\nb,two\n")
    async with client_of(emulator) as client:
        with path.open(newline="") as file:
            requests = chats(csv.DictReader(file), "Say {text}", id_column="id")
            result = await client.run(requests, model=MODEL)
        async with result:
            assert [(row.custom_id, row.text) async for row in result] == [
                ("a", "Say one"),
                ("b", "Say two"),
            ]


async def test_ids_that_occur_twice_are_found_by_the_check(emulator):
    """And named, before anything is sent."""
    records = [{"id": "a", "text": "x"}] * 2
    async with client_of(emulator) as client:
        with pytest.raises(InputRowsError, match="'a'"):
            await client.run(chats(records, "{text}", id_column="id"), model=MODEL)
    assert not [one for one in emulator.requests() if one.method != "GET"]


async def test_a_bad_record_ends_a_run_before_anything_is_sent(emulator):
    """With the error that names the record."""
    records = [{"text": "x"}, {}]
    async with client_of(emulator) as client:
        with pytest.raises(ConfigurationError, match="record 2 has no column 'text'"):
            await client.run(chats(records, "{text}"), model=MODEL)
    assert not [one for one in emulator.requests() if one.method != "GET"]
