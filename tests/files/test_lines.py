"""Files of lines in blocks: how errors are told, and where a reading may begin."""

import errno
import gzip
import io

import pytest

from fireworks_batch.files.lines import Block, open_lines, read_blocks
from fireworks_batch.models.errors import InputRowsError, LocalFileError


class Failing(io.BytesIO):
    """A file on a disk that fails after the first block."""

    name = "rows.jsonl"

    def readline(self, _size=-1, /):
        raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_fails_is_an_error_of_the_file():
    """The error names the file and the system's reason."""
    with pytest.raises(LocalFileError, match=r"cannot read 'rows.jsonl': Input/output error"):
        list(read_blocks(Failing(b"abc"), size=2))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"row\n" * 100, mtime=0)[:-20]])
def test_damaged_compressed_data_is_an_error_of_the_rows(tmp_path, content):
    """Data of another format is refused like data that ends too early."""
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content)

    with open_lines(path) as file, pytest.raises(InputRowsError, match="to its end"):
        list(read_blocks(file))


def test_a_reading_may_begin_at_any_line():
    """A byte order mark is one at the beginning of the file only."""
    mark = "\ufeff".encode()
    file = io.BytesIO(mark + b"a\n" + mark + b"b\nc")

    (whole,) = read_blocks(file)
    file.seek(5)
    rest = list(read_blocks(file, size=1))

    assert whole == Block(b"a\n" + mark + b"b\nc", start=3)
    assert rest == [Block(mark + b"b\n", 5), Block(b"c", 10)]
    assert rest[-1].end == whole.end == 11
