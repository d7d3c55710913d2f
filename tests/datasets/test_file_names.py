"""Names from the server, and where their files go."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import ResponseDecodeError
from fireworks_batch.datasets.download import local_names


def place(key: str) -> str:
    """Where one file goes."""
    ((*folders, name),) = local_names([key], dataset_id="out").values()
    return "/".join([*folders, name])


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("dataset/out/BIJOutputSet.jsonl", "BIJOutputSet.jsonl"),
        ("dataset/out/error-data", "error-data"),
        ("bare.jsonl", "bare.jsonl"),
        ("dataset/out/Überblick 2.jsonl", "Überblick 2.jsonl"),
        ("dataset/out/..", "%2E%2E"),
        ("dataset/out/.", "%2E"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("dataset/out/.bashrc", "%2Ebashrc"),
        ("dataset/out/..\\..\\evil.exe", "%2E.%5C..%5Cevil.exe"),
        ("dataset/out/C:evil", "C%3Aevil"),
        ("dataset/out/a\0b", "a%00b"),
        ("dataset/out/a\nb", "a%0Ab"),
        ("dataset/out/con", "%63%6F%6E"),
        ("dataset/out/NUL.jsonl", "%4E%55%4C.jsonl"),
        ("dataset/out/console", "console"),
        ("dataset/out/ends. ", "ends.%20"),
        ("dataset/out/50%.jsonl", "50%25.jsonl"),
        ("dataset/out/\udcff", "%ED%B3%BF"),
    ],
)
def test_a_file_goes_under_its_base_name(key, name):
    """What is unsafe on some system is percent-encoded."""
    assert place(key) == name


@pytest.mark.parametrize("key", ["", "/", "dataset/out/"])
def test_a_key_must_name_a_file(key):
    """A key that ends in a slash, or is empty, is refused by its name."""
    with pytest.raises(ResponseDecodeError, match="names no file") as caught:
        local_names([key], dataset_id="out")
    assert repr(key) in str(caught.value)


def test_a_shared_name_keeps_its_folders():
    """As many as tell the files apart; the others stay where they are."""
    keys = ["dataset/out/x/a.jsonl", "dataset/out/y/a.jsonl", "dataset/out/b.jsonl"]

    assert local_names(keys, dataset_id="out") == {
        "dataset/out/x/a.jsonl": ("x", "a.jsonl"),
        "dataset/out/y/a.jsonl": ("y", "a.jsonl"),
        "dataset/out/b.jsonl": ("b.jsonl",),
    }


@pytest.mark.parametrize("keys", [["a", "/a"], ["dataset/A", "dataset/a"], ["x//a", "x/a"]])
def test_files_that_would_overwrite_each_other_are_refused(keys):
    """Also where letters have no case."""
    with pytest.raises(ResponseDecodeError, match="are the same file on this machine"):
        local_names(keys, dataset_id="out")


def test_a_lineage_has_a_folder_for_each_dataset():
    """The segment before the base name; a key without one belongs to the dataset asked for."""
    keys = ["dataset/first/r.jsonl", "second/r.jsonl", "r.jsonl", "dataset/../r.jsonl"]

    assert list(local_names(keys, dataset_id="out", lineage=True).values()) == [
        ("first", "r.jsonl"),
        ("second", "r.jsonl"),
        ("out", "r.jsonl"),
        ("%2E%2E", "r.jsonl"),
    ]


@given(st.sets(st.text("./\\:a%\0 C")), st.booleans())
def test_no_file_leaves_the_directory_and_none_overwrites_another(keys, lineage):
    """On any system: each part is one plain name."""
    try:
        names = local_names(keys, dataset_id="out", lineage=lineage)
    except ResponseDecodeError:
        return
    assert len({"/".join(parts).casefold() for parts in names.values()}) == len(keys)
    for parts in names.values():
        assert parts
        for part in parts:
            assert part not in {"", ".", ".."}
            assert PurePosixPath(part).parts == (part,)
            assert PureWindowsPath(part).parts == (part,)
            assert PureWindowsPath(part).name == part
            assert "\0" not in part
