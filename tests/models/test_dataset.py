"""A dataset, as it is read and as it shows itself; how large a dataset may be."""

import json
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from fireworks_batch import (
    ConfigurationError,
    Dataset,
    DatasetFormat,
    DatasetState,
    EncryptionState,
    Limits,
    Status,
    to_dict,
)
from fireworks_batch.models.errors import ResponseDecodeError
from fireworks_batch.wire.codec import Codec

BODY = (Path(__file__).parents[1] / "fixtures" / "datasets" / "uploading.json").read_bytes()
CREATED = datetime(2026, 9, 14, 9, 0, 1, 120934, tzinfo=UTC)


def test_every_member_of_the_answer_is_read():
    """int64 comes as a string, nine digits of a second are cut to six, the oneof is kept."""
    dataset = Codec().decode(BODY, Dataset)

    assert dataset == Dataset(
        name="accounts/acme-labs/datasets/reviews-in-01",
        state=DatasetState.UPLOADING,
        create_time=CREATED,
        update_time=CREATED,
        created_by="dev@acme.example",
        status=Status(),
        example_count=3,
        format=DatasetFormat.UNSPECIFIED,
        encryption_state=EncryptionState.PLAINTEXT,
    )
    assert dataset.extra == {"userUploaded": {}}


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("exampleCount", "many", "exampleCount: expected an integer, not 'many'"),
        ("averageTurnCount", "1", "averageTurnCount: expected a number, not '1'"),
        ("state", [], "state: expected the name of a DatasetState, not []"),
        ("status", {"message": 5}, "status.message: expected a string, not 5"),
    ],
)
def test_a_member_of_a_wrong_type_is_named(member, value, problem):
    """The error has the path, and the rest is read."""
    with pytest.raises(ResponseDecodeError) as caught:
        Codec().structure(json.loads(BODY) | {member: value}, Dataset)

    assert (problem,) == caught.value.problems
    assert caught.value.partial.created_by == "dev@acme.example"


@pytest.mark.parametrize(
    ("state", "is_ready"), [("READY", True), ("UPLOADING", False), ("NEW", False)]
)
def test_only_a_ready_dataset_is_ready(state, is_ready):
    """A state that is not published is not taken for READY."""
    assert is_ready is Dataset(name="x", state=DatasetState(state)).is_ready


@pytest.mark.parametrize(
    ("name", "account_id", "id_"),
    [("accounts/acme/datasets/in", "acme", "in"), ("in", "", "in"), ("", "", "")],
)
def test_the_name_says_account_and_id(name, account_id, id_):
    """A name of another form has no account."""
    dataset = Dataset(name=name)

    assert (account_id, id_) == (dataset.account_id, dataset.id)


def test_it_shows_itself_on_one_line():
    """Its id, state and rows."""
    dataset = Dataset(name="accounts/a/datasets/in", state=DatasetState.READY, example_count=3)

    assert repr(dataset) == "<Dataset 'in' READY, 3 rows>"
    assert to_dict(dataset)["state"] == "READY"


# --- Limits --------------------------------------------------------------------------------------


def test_defaults_are_those_promised():
    """80 GiB, 150 MB, and no limit of rows."""
    assert attrs.asdict(Limits()) == {
        "max_rows": None,
        "max_bytes": 80 * 1024**3,
        "max_upload_bytes": 150_000_000,
    }


@pytest.mark.parametrize("name", ["max_rows", "max_bytes", "max_upload_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_a_limit_is_a_whole_number(name, value):
    """Of at least 1; the error names the setting and the value."""
    with pytest.raises(ConfigurationError, match=f"Limits.{name} must be a whole number") as no:
        Limits(**{name: value})
    assert repr(value) in str(no.value)
    assert getattr(Limits(**{name: 1}), name) == 1
