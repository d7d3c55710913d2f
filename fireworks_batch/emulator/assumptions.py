"""The assumptions of the emulator: one switch for each unknown of the server's behaviour."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args, get_type_hints

import attrs

from fireworks_batch.emulator.members import did_you_mean


@attrs.frozen(kw_only=True)
class Assumptions:
    """What the emulator assumes where the behaviour of the real server is not known.

    Each field is a switch. Its type lists the positions of the switch, and its text explains each
    position. A test that passes at every position of a switch does not depend on that unknown.
    Give switches to an emulator by name: ``Emulator(assume={"deleted_job": "tombstone"})``, or
    ``--assume deleted_job=tombstone`` on the command line.

    The texts name their sources. "Documented" means that the vendor's documentation or its
    published API document says so. "Seen live" means that a person has seen the real server do so.

    Raises:
        ValueError: A switch has no such position. The text lists its positions.
    """

    default_order: Literal["oldest_first", "newest_first"] = "oldest_first"
    """The order in which jobs are listed without ``orderBy``.

    ``"oldest_first"`` is documented: the order is by ``created_time``, and ascending is the
    default. The order of the real server was never seen.
    """

    order_field_names: Literal["both", "created_time", "create_time"] = "both"
    """The name by which ``orderBy`` and ``filter`` know a job's creation and update times.

    ``"created_time"`` takes ``created_time`` and ``updated_time`` only, as documented.
    ``"create_time"`` takes only the names of the fields, ``createTime`` and ``updateTime``, in
    either spelling. ``"both"`` takes all of them.
    """

    list_support: Literal["yes", "refuse"] = "yes"
    """Whether jobs can be listed.

    ``"refuse"`` answers 501, as if the key were for inference only.
    """

    filter_support: Literal["yes", "refuse"] = "yes"
    """Whether a list of jobs can be filtered.

    ``"refuse"`` answers 400 to every ``filter``.
    """

    filter_state_names: Literal["wire", "both"] = "wire"
    """The names of states in a ``filter``.

    ``"wire"`` takes only names like ``JOB_STATE_RUNNING``. ``"both"`` also takes ``RUNNING``.
    """

    page_tokens: Literal["lasting", "expiring"] = "lasting"
    """Whether page tokens expire.

    ``"expiring"`` refuses a token (400) that is older than an emulated hour.
    """

    end_of_pages: Literal["empty_token", "no_token"] = "empty_token"
    """The form of the last page of a list.

    With ``"empty_token"``, ``nextPageToken`` is an empty string. With ``"no_token"``, the member is
    missing. Both are documented.
    """

    masked_answer: Literal["emit_unpopulated", "populated_only"] = "emit_unpopulated"
    """The members of an answer that its ``readMask`` does not name.

    ``"emit_unpopulated"`` shows them with empty values, as the server shows members that are not
    set. ``"populated_only"`` leaves them out.
    """

    mask_support: Literal["yes", "ignore", "refuse"] = "yes"
    """Whether ``readMask`` has an effect.

    ``"ignore"`` answers with the whole resource. ``"refuse"`` answers 400.
    """

    requested_job_id: Literal["obeyed", "ignored"] = "obeyed"
    """Whether a job gets the id that the client asks for.

    With ``"ignored"``, the server always makes up an id. Then a repeated creation makes one more
    job.
    """

    deleted_job: Literal["not_found", "tombstone", "archived", "reserved"] = "not_found"
    """What the server shows of a job after its deletion.

    ``"not_found"``: GET answers 404 (seen live by one source), and the id can be used again.
    ``"tombstone"``: the job stays in state DELETED, is not listed, and keeps its id.
    ``"archived"``: the same in state ARCHIVED, as the vendor's cookbook says of trainer jobs.
    ``"reserved"``: GET answers 404, and the id stays taken.
    """

    deletion_time: Literal["a_minute", "at_once"] = "a_minute"
    """How long a deleted job stays in state DELETING_CLEANING_UP.

    ``"a_minute"`` is an emulated minute, and then until the next tick. ``"at_once"`` is until the
    next tick.
    """

    repeated_delete: Literal["accept", "not_found"] = "accept"
    """The answer to a second DELETE while the job is being deleted.

    ``"accept"`` answers 200. ``"not_found"`` answers 404.
    """

    max_duration_out_of_range: Literal["clamp", "reject"] = "clamp"
    """What happens to a ``maxJobDuration`` outside of 12 to 72 hours.

    ``"clamp"`` takes the nearest allowed value, and ``"reject"`` answers 400. The documentation
    only says "bounded".
    """

    duration_spelling: Literal["seconds", "units"] = "seconds"
    """The spellings that ``maxJobDuration`` may have.

    ``"seconds"`` takes seconds only, as in ``86400s``: this is the JSON form of protobuf.
    ``"units"`` also takes ``24h`` and ``1h30m``. One source shows such a value, without proof.
    """

    foreign_model: Literal["accept", "refuse"] = "accept"
    """What happens to a job whose model belongs neither to the vendor nor to the account.

    ``"accept"`` creates the job. ``"refuse"`` answers 404. An incompatible model is documented to
    leave a job PENDING.
    """

    router_model: Literal["accept", "stay_pending", "refuse"] = "accept"
    """What happens to a job whose model is a router, ``accounts/fireworks/routers/...``.

    ``"accept"`` runs the job. ``"stay_pending"`` leaves it PENDING. ``"refuse"`` answers 404.
    Routers are documented for serverless inference.
    """

    zero_data_retention: Literal["no", "403", "400"] = "no"
    """Whether the account has a zero-data-retention policy, which forbids batch jobs.

    ``"403"`` and ``"400"`` are the status of the refusal to create a job. It is documented that
    such jobs are refused. Status, message and call are not documented.
    """

    unset_max_duration: Literal["filled", "null"] = "filled"
    """What a job without a ``maxJobDuration`` shows in this member.

    ``"filled"`` shows the default of 24 hours, and ``"null"`` shows null.
    """

    expired_status: Literal["DEADLINE_EXCEEDED", "OK"] = "DEADLINE_EXCEEDED"
    """The code in the ``status`` of an EXPIRED job.

    No such status was ever seen.
    """

    pending_at_expiry: Literal["expire", "stay"] = "expire"
    """What happens to a job that is still PENDING at its expiry.

    ``"expire"`` makes the job EXPIRED. ``"stay"`` leaves it PENDING.
    """

    bare_ids: Literal["reject", "accept"] = "reject"
    """Whether the body of a job may name a model, a dataset or a job by its id alone.

    ``"reject"`` answers 400. Every known client sends full resource names.
    """

    invalid_extra_body: Literal["reject", "accept"] = "reject"
    """What happens to an ``extraBody`` that is not the JSON text of an object.

    ``"reject"`` answers 400. ``"accept"`` creates the job, which ignores the text.
    """

    continuation_source: Literal["must_exist", "unchecked"] = "must_exist"
    """Whether ``continuedFromJobName`` must name an existing job.

    ``"must_exist"`` answers 404 if there is no such job.
    """

    duplicate_job_status: Literal["409", "400"] = "409"
    """The status that refuses a job id that is taken.

    409 follows from the gRPC code. The refusal was never seen.
    """

    malformed_id_on_read: Literal["400", "404"] = "400"
    """The status with which GET and DELETE answer an id that no job can have."""

    cancel_status: Literal["404", "405", "501"] = "404"
    """The status of POST to ``:cancel``. The API has no such call."""

    wrong_method_status: Literal["501", "405"] = "501"
    """The status of a request whose path has no such method.

    501 is the default of the gRPC gateway.
    """

    bad_key_status: Literal["403", "401"] = "403"
    """The status that refuses a missing or wrong API key.

    One source saw 403 live. The documentation says 401.
    """

    foreign_account: Literal["403", "404"] = "403"
    """The status of a request to an account that the API key does not open."""

    input_dataset: Literal["must_be_ready", "unchecked"] = "must_be_ready"
    """Whether the input dataset of a new job must exist and be READY.

    ``"must_be_ready"`` refuses the job: by ``missing_input_status`` if the dataset does not exist,
    by 400 if it is not READY. ``"unchecked"`` creates the job. A job without an uploaded dataset
    processes no rows; its counters and states go by its script.
    """

    missing_input_status: Literal["404", "400"] = "404"
    """The status that refuses a job whose input dataset does not exist."""

    existing_output_status: Literal["409", "400"] = "409"
    """The status that refuses a job whose output dataset exists already.

    It is known from a user's script that such a job is refused.
    """

    output_of_deleted_job: Literal["kept", "deleted"] = "kept"
    """What happens to the output dataset of a job that is deleted.

    With ``"kept"``, a job that still runs leaves the rows that it has processed. With
    ``"deleted"``, the output dataset is deleted with the job.
    """

    failed_job_output: Literal["partial", "none"] = "partial"
    """Whether a job that fails in state RUNNING leaves the rows that it has processed.

    ``"none"`` makes no output dataset.
    """

    output_source_job: Literal["filled", "empty"] = "filled"
    """Whether the ``sourceJobName`` of an output dataset names its job."""

    output_example_count: Literal["succeeded", "processed", "zero"] = "succeeded"
    """What the ``exampleCount`` of an output dataset counts.

    ``"succeeded"`` counts rows with a response. ``"processed"`` also counts rows with an error.
    ``"zero"`` is always 0.
    """

    ended_counters: Literal["right", "null", "zero", "stale", "cumulative"] = "right"
    """The counters (``jobProgress``) of a job that has ended.

    ``"right"`` counts the processed rows. ``"null"`` shows no ``jobProgress``. ``"zero"`` shows
    zeros. ``"stale"`` shows half of the processed rows. ``"cumulative"`` shows twice their number,
    as if the job had begun anew half-way.
    """

    some_rows_failed: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    """The outcome of a job if some of its rows failed."""

    all_rows_failed: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    """The outcome of a job if all of its rows failed."""

    error_shape: Literal["int_code", "string_code", "no_code", "text"] = "int_code"
    """The form of ``error`` in a row that failed.

    ``"int_code"`` is an object with a number as its code, such as 503. ``"string_code"`` is an
    object with the name of a gRPC code, such as ``"UNAVAILABLE"``. ``"no_code"`` is an object with
    a message only. ``"text"`` is just the message. No such row was ever seen.
    """

    error_file: Literal["always", "when_needed"] = "always"
    """Whether an output has the file ``error-data`` if no row failed.

    With ``"always"``, the file is there and empty (seen live).
    """

    response_shape: Literal["flat", "wrapped"] = "flat"
    """The form of ``response`` in a row that succeeded.

    ``"flat"`` is the chat completion (seen live). ``"wrapped"`` is an object with ``status_code``,
    ``request_id``, and the completion as ``body``.
    """

    row_order: Literal["shuffled", "kept"] = "shuffled"
    """The order of the rows of results.

    ``"shuffled"`` differs from the order of the input. So it was in the one job that was seen.
    """

    row_model: Literal["ignore", "fail_row"] = "ignore"
    """What happens to a row whose ``body`` names another model than the job."""

    row_stream: Literal["fail_row", "ignore"] = "fail_row"
    """What happens to a row whose ``body`` asks for a stream."""

    row_extras: Literal["ignore", "fail_job"] = "ignore"
    """What happens to a row with more members than ``custom_id`` and ``body``.

    Such members are ``method`` and ``url`` of the OpenAI batch format.
    """

    parameter_precedence: Literal["row", "job"] = "row"
    """Whose value counts if a row and its job both give a parameter."""

    duplicate_ids: Literal["fail_job", "accept"] = "fail_job"
    """What happens to a job whose input has a ``custom_id`` twice."""

    blank_lines: Literal["skip", "fail_job"] = "skip"
    """What happens to a job whose input has blank lines."""

    last_newline: Literal["optional", "required"] = "optional"
    """Whether the last line of an input needs a line feed.

    With ``"required"``, a job without it fails.
    """

    line_numbers: Literal["right", "one_less"] = "right"
    """The line number in the message of a job that failed in state VALIDATING.

    ``"right"`` counts lines from 1, and ``"one_less"`` counts them from 0. The number was wrong in
    the one message that was seen.
    """

    byte_order_mark: Literal["fail_job", "skip"] = "fail_job"
    """What happens to a job whose input begins with a byte order mark."""

    lineage_keys: Literal["path", "slash", "underscore"] = "path"
    """The names of files in a download with ``downloadLineage``.

    ``"path"`` is ``dataset/{dataset}/{file}``, as without ``downloadLineage``. ``"slash"`` is
    ``{dataset}/{file}``, and ``"underscore"`` is ``{dataset}_{file}``. It is documented that the id
    of the dataset is a prefix.
    """

    upload_limit: Literal["150MB", "150MiB", "none"] = "150MB"
    """The largest file that ``:upload`` takes.

    A larger file is answered by 413. The limit is documented. No source has seen it enforced.
    """

    reupload_status: Literal["400", "409"] = "400"
    """The status that refuses an upload to a dataset that has its files already."""

    concurrent_uploads: Literal["first_wins", "all"] = "first_wins"
    """What happens to several uploads to one dataset at the same time.

    ``"first_wins"`` takes the upload that ends first, and refuses the others. ``"all"`` takes all
    of them. If their file names differ, the dataset then has each row more than once.
    """

    duplicate_dataset_status: Literal["409", "400"] = "409"
    """The status that refuses a dataset id that is taken.

    409 follows from the gRPC code, and clients expect it.
    """

    dataset_display_name: Literal["accept", "reject"] = "accept"
    """Whether a dataset may have a ``displayName``.

    The member is documented. One source saw the server reject it (400) as an unknown field.
    """

    dataset_retention: Literal["for_ever", "30_days"] = "for_ever"
    """How long a dataset is kept after its creation, in emulated time.

    Nothing is documented.
    """

    dataset_in_use: Literal["delete", "refuse"] = "delete"
    """Whether a dataset can be deleted while a running job names it.

    ``"refuse"`` answers 400.
    """

    unready_download_status: Literal["400", "404"] = "400"
    """The status that refuses a download of a dataset that is not READY."""

    signed_url_range: Literal["yes", "ignore"] = "yes"
    """Whether the storage obeys ``Range``.

    ``"yes"`` answers 206 with the range. ``"ignore"`` answers 200 with the whole file.
    """

    signed_url_gzip: Literal["never", "accepted"] = "never"
    """Whether the storage compresses a file.

    ``"accepted"`` does so if the client accepts gzip.
    """

    signed_url_hash: Literal["md5", "none"] = "md5"
    """The hash of a file in the header ``x-goog-hash``.

    ``"none"`` leaves the header out.
    """

    limited_calls: Literal["all", "inference"] = "all"
    """The calls that count toward the account's requests a minute.

    ``"all"`` follows the wording of the documentation. With ``"inference"``, no call of the
    emulator counts, and so none is refused.
    """

    retry_after: Literal["none", "seconds", "date"] = "none"
    """The form of ``Retry-After`` in a 429 of the request limit.

    ``"none"`` leaves the header out: nothing is documented. ``"seconds"`` is a number, and
    ``"date"`` is an HTTP date. Both ask for real seconds, at least 1.
    """

    def __attrs_post_init__(self) -> None:
        """Check every switch."""
        for name, positions in _positions().items():
            if getattr(self, name) not in positions:
                raise ValueError(
                    f"assumption {name} cannot be {getattr(self, name)!r};"
                    f" choose from: {', '.join(positions)}"
                    f"{did_you_mean(getattr(self, name), positions)}"
                )


def _positions() -> dict[str, tuple[str, ...]]:
    hints = get_type_hints(Assumptions)
    return {field.name: get_args(hints[field.name]) for field in attrs.fields(Assumptions)}


def read_assumptions(given: Assumptions | Mapping[str, object] | None) -> Assumptions:
    """Read assumptions from an instance, or from the names and positions of switches.

    Raises:
        ValueError: There is no such switch or position. The text lists the known ones.
    """
    if isinstance(given, Assumptions):
        return given
    given = {} if given is None else given
    positions = _positions()
    for name in given:
        if name not in positions:
            raise ValueError(
                f"no assumption {name!r}; choose from: {', '.join(positions)}"
                f"{did_you_mean(name, positions)}"
            )
    values = {name: str(value) for name, value in given.items()}
    return Assumptions(**values)  # type: ignore[arg-type]  # checked by the class


def parse_assumptions(texts: Iterable[str]) -> Assumptions:
    """Read assumptions from texts of the form ``name=value``.

    Raises:
        ValueError: A text has no ``=``, or there is no such switch or position.
    """
    given: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"an assumption must be written as name=value, not {text!r}")
        given[name.strip()] = value.strip()
    return read_assumptions(given)
