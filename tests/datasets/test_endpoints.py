"""The endpoints of datasets, over real HTTP."""

import pytest

from fireworks_batch import (
    BatchClient,
    ConfigurationError,
    Dataset,
    DatasetConflictError,
    NotFoundError,
    ResponseDecodeError,
    TransportError,
)


async def create(client: BatchClient, dataset_id: str = "reviews", **options) -> Dataset:
    """Create a dataset of three rows."""
    return await client.datasets.create(dataset_id, **{"example_count": 3, **options})


async def test_a_dataset_is_created_without_content(client):
    """It is UPLOADING, with the rows that were declared."""
    dataset = await create(client, display_name="Reviews", format="CHAT")

    assert (dataset.id, dataset.state, dataset.example_count) == ("reviews", "UPLOADING", 3)
    assert (dataset.display_name, dataset.format) == ("Reviews", "CHAT")
    assert not dataset.is_ready


@pytest.mark.parametrize("form", [str, lambda name: name.rpartition("/")[2]])
async def test_a_dataset_is_fetched_by_any_of_its_names(client, form):
    """Resource name and id."""
    made = await create(client)

    assert await client.datasets.get(form(made.name)) == made
    assert await client.datasets.get(made) == made


ANOTHER = {"name": "accounts/acme/datasets/another", "state": "READY", "exampleCount": "3"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_dataset_is_refused(client, emulator, method):
    """An answer that shows another dataset than the one asked for is no answer."""
    await create(client)
    emulator.add_fault("status", method=method, status=200, body=ANOTHER)

    with pytest.raises(ResponseDecodeError, match="the answer shows another dataset"):
        await (client.datasets.get("reviews") if method == "GET" else create(client))


async def test_an_upload_is_not_done_because_another_dataset_is(client, emulator):
    """A poll is answered with another dataset, which is READY: the poll has failed."""
    emulator.add_fault("status", method="GET", status=200, body=ANOTHER)

    dataset = await client.datasets.upload(b'{"custom_id": "1", "body": {"messages": []}}\n')

    assert dataset.id != "another"
    assert [each.fault for each in emulator.requests()] == [None, None, "status", None]


async def test_a_mask_leaves_the_rest_at_defaults(client):
    """The name always comes."""
    await create(client)
    dataset = await client.datasets.get("reviews", read_mask=["state"])

    assert (dataset.id, dataset.state, dataset.example_count) == ("reviews", "UPLOADING", 0)


async def test_datasets_are_listed(client):
    """All pages, each dataset once."""
    for dataset_id in ("a", "b", "c"):
        await create(client, dataset_id)

    assert [each.id async for each in client.datasets.list(page_size=2)] == ["a", "b", "c"]


async def test_a_deleted_dataset_is_gone(client):
    """Its record is not found any more."""
    await create(client)
    await client.datasets.delete("reviews")

    with pytest.raises(NotFoundError):
        await client.datasets.get("reviews")


async def test_a_delete_whose_answer_is_lost_is_done(client, emulator):
    """The repeat finds nothing, which is what was wanted."""
    await create(client)
    emulator.add_fault("drop_answer", method="DELETE")
    await client.datasets.delete("reviews")

    assert [each async for each in client.datasets.list()] == []


async def test_deleting_nothing_says_so(client):
    """At the first attempt a 404 is an error."""
    with pytest.raises(NotFoundError, match="404 NOT_FOUND"):
        await client.datasets.delete("reviews")


@pytest.mark.parametrize("times", [1, None])
async def test_a_lost_answer_makes_one_dataset(client, emulator, times):
    """The one that a lost attempt made is returned."""
    emulator.add_fault("drop_answer", method="POST", times=times)
    dataset = await create(client)

    assert [each.id async for each in client.datasets.list()] == [dataset.id]


async def test_a_dataset_that_never_arrived_is_not_invented(client, emulator):
    """The last attempt's error comes out."""
    emulator.add_fault("reset", method="POST", times=None)
    with pytest.raises(TransportError):
        await create(client)


async def test_a_taken_id_is_a_conflict(client):
    """Without a lost answer, what is there is somebody else's."""
    await create(client)
    with pytest.raises(DatasetConflictError) as caught:
        await create(client)

    assert str(caught.value) == (
        "dataset id 'reviews' is taken: it is UPLOADING, with 3 rows; choose another dataset_id"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dataset_id": "9"}, "dataset id '9' cannot be given to a new resource: ids have 1 to 63"),
        ({"example_count": 0}, "example_count must be a whole number of at least 1, not 0"),
        ({"example_count": "3"}, "example_count must be a whole number of at least 1, not '3'"),
        ({"display_name": 5}, "display_name must be a string, not 5"),
        ({"format": 5}, "format must be one of UNSPECIFIED, CHAT, COMPLETION, RL, not 5"),
        (
            {"format": "CHATS"},
            "format must be one of UNSPECIFIED, CHAT, COMPLETION, RL, not 'CHATS'; ",
        ),
    ],
)
async def test_malformed_arguments_send_nothing(client, emulator, options, text):
    """The error names the value."""
    with pytest.raises(ConfigurationError) as caught:
        await create(client, **options)

    assert str(caught.value).startswith(text)
    assert emulator.requests() == []


async def test_a_dataset_of_another_account_is_refused(client, emulator):
    """Before any request, by resource name and by model."""
    name = "accounts/other/datasets/reviews"
    for dataset in (name, Dataset(name=name)):
        with pytest.raises(ConfigurationError, match="'reviews' belongs to account 'other'; this"):
            await client.datasets.get(dataset)

    assert emulator.requests() == []
