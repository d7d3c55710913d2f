"""What rows hold, in numbers."""

import json

import pytest

from fireworks_batch import RowContents
from fireworks_batch.runs.contents import ContentCounter, JobDefaults

USER = {"role": "user", "content": "12345"}
SYSTEM = {"role": "system", "content": "123"}


def counted(*bodies, **defaults):
    """Return what the bodies hold."""
    counter = ContentCounter(JobDefaults(**defaults))
    for body in bodies:
        counter.add(json.dumps({"custom_id": "r", "body": body}).encode())
    return counter.made()


@pytest.mark.parametrize(
    ("body", "characters"),
    [
        ({"messages": [USER]}, 5),
        ({"messages": [SYSTEM, USER]}, 8),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "äö"}]}]}, 2),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, 4),
        ({"messages": [USER], "tools": [{"a": 1}]}, 5 + len('[{"a":1}]')),
        ({"messages": [USER], "response_format": {"type": "x"}}, 5 + len('{"type":"x"}')),
    ],
)
def test_the_characters_that_the_model_reads_are_counted(body, characters):
    """Texts, and what is sent as JSON; characters, not bytes."""
    assert counted(body).characters == characters


def test_the_system_prompt_counts_for_rows_that_begin_with_none():
    """As the server adds it to them."""
    bodies = [{"messages": [USER]}, {"messages": [SYSTEM, USER]}, {"prompt_token_ids": [1]}]
    assert counted(*bodies, system_prompt="123456789").characters == 5 + 9 + 8


def test_bytes_and_messages_bound_the_tokens():
    """Of emoji, a character can be several tokens; each message has a template."""
    emoji = {"role": "user", "content": "\U0001f600" * 3}
    found = counted(
        {"messages": [SYSTEM, emoji, USER]}, {"messages": [USER]}, system_prompt="\u00e4"
    )
    assert (found.characters, found.bytes, found.messages) == (3 + 3 + 5 + 6, 3 + 12 + 5 + 7, 5)


def test_token_ids_and_images_are_counted_apart():
    """An image is a part that is no text, whatever its size."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = {"role": "user", "content": [{"type": "text", "text": "what?"}, image, image]}
    assert counted({"messages": [parts]}, {"prompt_token_ids": [1, 2, 3]}) == RowContents(
        characters=5, bytes=5, messages=1, images=2, token_ids=3, unlimited_rows=2
    )


def test_what_the_model_may_write_is_limited_by_row_or_job():
    """Each choice counts; a row without a limit is counted as such."""
    bodies = [
        {"messages": [USER], "max_tokens": 10},
        {"messages": [USER], "max_completion_tokens": 7, "n": 2},
        {"messages": [USER]},
    ]
    found = counted(*bodies)
    assert (found.max_tokens, found.unlimited_rows) == (24, 1)
    found = counted(*bodies, max_tokens=100, choices=3)
    assert (found.max_tokens, found.unlimited_rows) == (30 + 14 + 300, 0)
