"""Name every unknown of the service's behaviour, with the positions it may take."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args, get_type_hints

import attrs


@attrs.frozen(kw_only=True)
class Assumptions:
    """What the emulator assumes where the behaviour of the real service was never seen.

    Each field is a switch; its type lists the positions. A test that passes under every
    position of a switch does not depend on that unknown.

    Raises:
        ValueError: A switch has no such position; the text lists those it has.
    """

    default_order: Literal["oldest_first", "newest_first"] = "oldest_first"
    """How jobs are listed without `orderBy`. Documented: by `created_time`, and ascending is
    the default; the practice was not seen."""

    order_field_names: Literal["both", "created_time", "create_time"] = "both"
    """What `orderBy` and `filter` call a job's creation and update times. The document says
    `created_time`, while the field is `createTime`."""

    list_support: Literal["yes", "refuse"] = "yes"
    """Whether jobs can be listed: `refuse` answers 501, as for an inference-only key."""

    filter_support: Literal["yes", "refuse"] = "yes"
    """Whether jobs can be filtered: `refuse` answers 400 to every filter."""

    filter_state_names: Literal["wire", "both"] = "wire"
    """Whether a filter names states only as on the wire (`JOB_STATE_RUNNING`), or also bare."""

    page_tokens: Literal["lasting", "expiring"] = "lasting"
    """Whether page tokens end; `expiring` ones are refused after an emulated hour."""

    end_of_pages: Literal["empty_token", "no_token"] = "empty_token"
    """How the last page says so: `nextPageToken` is `""` or not there. Both are documented."""

    masked_answer: Literal["emit_unpopulated", "populated_only"] = "emit_unpopulated"
    """What an answer shows outside its `readMask`: empty members (as the gateway shows
    members that are not set), or nothing."""

    mask_support: Literal["yes", "ignore", "refuse"] = "yes"
    """Whether a `readMask` is obeyed, ignored, or answered with 400."""

    requested_job_id: Literal["obeyed", "ignored"] = "obeyed"
    """Whether a job gets the id that the client asks for, or always one that the server makes up,
    so that a repeated creation makes one more job."""

    deleted_job: Literal["not_found", "tombstone", "archived", "reserved"] = "not_found"
    """How a deletion ends. ``not_found``: GET answers 404 (one source saw it live), and the id is
    free. ``tombstone``: the job stays in state DELETED, is not listed, and keeps its id.
    ``archived``: the same in state ARCHIVED, as the vendor's cookbook has it of trainer jobs.
    ``reserved``: GET answers 404, and the id stays taken."""

    deletion_time: Literal["a_minute", "at_once"] = "a_minute"
    """How long a deleted job cleans up: a minute and until the next tick, or until that tick."""

    repeated_delete: Literal["accept", "not_found"] = "accept"
    """What a second DELETE is told while the first is at work: 200 or 404."""

    max_duration_out_of_range: Literal["clamp", "reject"] = "clamp"
    """What becomes of a `maxJobDuration` outside 12 to 72 hours. Documented: "bounded"."""

    duration_spelling: Literal["seconds", "units"] = "seconds"
    """Whether a `maxJobDuration` is spelt in seconds only (`86400s`, as protobuf's JSON has it),
    or also in units (`24h`, `1h30m`), which one source shows without proof."""

    foreign_model: Literal["accept", "refuse"] = "accept"
    """What becomes of a job of a model that is neither the vendor's nor the account's own: it is
    made (an incompatible model is documented to leave a job PENDING), or refused with 404."""

    router_model: Literal["accept", "stay_pending", "refuse"] = "accept"
    """What becomes of a job whose model is a router (`accounts/fireworks/routers/...`, documented
    for serverless inference): it runs, it stays PENDING, or it is refused with 404."""

    zero_data_retention: Literal["no", "403", "400"] = "no"
    """Whether the account has a zero-data-retention policy, and with which status a job is refused
    then. That it is refused is documented; status, text and call are not."""

    unset_max_duration: Literal["filled", "null"] = "filled"
    """Whether a job made without `maxJobDuration` shows the default of a day, or null."""

    expired_status: Literal["DEADLINE_EXCEEDED", "OK"] = "DEADLINE_EXCEEDED"
    """What the `status` of an EXPIRED job says. None was ever seen."""

    pending_at_expiry: Literal["expire", "stay"] = "expire"
    """Whether a job still PENDING when its time limit ends expires, or stays PENDING."""

    bare_ids: Literal["reject", "accept"] = "reject"
    """Whether a job's body may name a model, dataset or job by its bare id. Every known client
    sends full resource names."""

    invalid_extra_body: Literal["reject", "accept"] = "reject"
    """What becomes of an `extraBody` that is not the JSON text of an object."""

    continuation_source: Literal["must_exist", "unchecked"] = "must_exist"
    """Whether `continuedFromJobName` must name a job that is there (else 404)."""

    duplicate_job_status: Literal["409", "400"] = "409"
    """How a taken job id is refused. 409 follows from the gRPC code; not seen."""

    malformed_id_on_read: Literal["400", "404"] = "400"
    """How GET and DELETE answer an id that no job can have."""

    cancel_status: Literal["404", "405", "501"] = "404"
    """How POST to `:cancel`, which does not exist, is answered."""

    wrong_method_status: Literal["501", "405"] = "501"
    """How a method that a path does not have is answered: 501 is the gateway's default."""

    bad_key_status: Literal["403", "401"] = "403"
    """How a missing or wrong key is answered: one source saw 403 live, the documents
    say 401."""

    foreign_account: Literal["403", "404"] = "403"
    """How a path under an account that the key does not open is answered."""

    input_dataset: Literal["must_be_ready", "unchecked"] = "must_be_ready"
    """Whether a job's input dataset must be there (else 404) and READY (else 400) at once. The
    rows of one that is not there are not processed; the job only says so."""

    missing_input_status: Literal["404", "400"] = "404"
    """How a job is refused whose input dataset is not there."""

    existing_output_status: Literal["409", "400"] = "409"
    """How a job is refused whose output dataset is there already. That it is refused is known
    from a user's script."""

    output_of_deleted_job: Literal["kept", "deleted"] = "kept"
    """What becomes of a job's output when the job is deleted. A job that still runs leaves what
    it has done so far, or nothing."""

    failed_job_output: Literal["partial", "none"] = "partial"
    """Whether a job that fails while it runs leaves the rows that it has done."""

    output_source_job: Literal["filled", "empty"] = "filled"
    """Whether an output dataset has its job as `sourceJobName`."""

    output_example_count: Literal["succeeded", "processed", "zero"] = "succeeded"
    """What an output dataset has as `exampleCount`: the rows of its results, those of both
    files, or nothing."""

    ended_counters: Literal["right", "null", "zero", "stale", "cumulative"] = "right"
    """What the counters of a job that has ended say: what was processed; no `jobProgress` at all;
    zeros; half of what was processed; or twice that, as if the job had begun anew half-way."""

    some_rows_failed: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    """How a job ends of which some rows failed."""

    all_rows_failed: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    """How a job ends of which every row failed."""

    error_shape: Literal["int_code", "string_code", "no_code", "text"] = "int_code"
    """What `error` is in an error row: an object whose code is a number or a name or not there, or
    just the message. No error row was ever seen."""

    error_file: Literal["always", "when_needed"] = "always"
    """Whether `error-data` is there, with no bytes in it, when no row failed. Seen live."""

    response_shape: Literal["flat", "wrapped"] = "flat"
    """What `response` is in a result row: the completion (seen live), or an object that has it
    as `body`."""

    row_order: Literal["shuffled", "kept"] = "shuffled"
    """The order of the result rows. It was not that of the input in the one job seen."""

    row_model: Literal["ignore", "fail_row"] = "ignore"
    """What becomes of a row that names another model than the job's."""

    row_stream: Literal["fail_row", "ignore"] = "fail_row"
    """What becomes of a row that asks for a stream."""

    row_extras: Literal["ignore", "fail_job"] = "ignore"
    """What becomes of a row with more than `custom_id` and `body`, such as `method` or `url`."""

    parameter_precedence: Literal["row", "job"] = "row"
    """Whose parameters count when row and job give the same one."""

    duplicate_ids: Literal["fail_job", "accept"] = "fail_job"
    """What becomes of a dataset in which a `custom_id` stands twice."""

    blank_lines: Literal["skip", "fail_job"] = "skip"
    """What becomes of a dataset with blank lines."""

    last_newline: Literal["optional", "required"] = "optional"
    """Whether a job fails whose input does not end with a line feed."""

    line_numbers: Literal["right", "one_less"] = "right"
    """Which line a failed validation names. The number was off in the one message seen."""

    byte_order_mark: Literal["fail_job", "skip"] = "fail_job"
    """What becomes of a dataset that begins with a byte order mark."""

    lineage_keys: Literal["path", "slash", "underscore"] = "path"
    """The names of files with `downloadLineage`: `dataset/{dataset}/{file}` as without it,
    `{dataset}/{file}` or `{dataset}_{file}`. Documented: prefixed with the dataset's id."""

    upload_limit: Literal["150MB", "150MiB", "none"] = "150MB"
    """The largest file that `:upload` takes; a larger one is answered 413. Documented, not
    seen to be enforced."""

    reupload_status: Literal["400", "409"] = "400"
    """How an upload to a dataset that has its files is refused."""

    concurrent_uploads: Literal["first_wins", "all"] = "first_wins"
    """What becomes of several uploads to one dataset that are under way at once: the first that
    is whole is taken and the others are refused, or all are taken. The dataset then has the files
    of all, and with different file names each row more than once."""

    duplicate_dataset_status: Literal["409", "400"] = "409"
    """How a taken dataset id is refused. 409 follows from the gRPC code and from what clients
    expect."""

    dataset_display_name: Literal["accept", "reject"] = "accept"
    """Whether a dataset may have a `displayName`. Documented; one source saw it rejected as an
    unknown field."""

    dataset_retention: Literal["for_ever", "30_days"] = "for_ever"
    """How long a dataset is kept after its creation. Nothing is documented."""

    dataset_in_use: Literal["delete", "refuse"] = "delete"
    """Whether a dataset can be deleted while a job that runs names it, or 400 is answered."""

    unready_download_status: Literal["400", "404"] = "400"
    """How a download of a dataset is refused that is not READY."""

    signed_url_range: Literal["yes", "ignore"] = "yes"
    """Whether the storage answers a `Range` with 206, or with the whole file."""

    signed_url_gzip: Literal["never", "accepted"] = "never"
    """Whether the storage compresses what a client would accept compressed."""

    signed_url_hash: Literal["md5", "none"] = "md5"
    """What `x-goog-hash` has of a stored file; `none` leaves the header out."""

    limited_calls: Literal["all", "inference"] = "all"
    """Which calls the account's requests a minute count: all (the documents' wording), or those
    of inference only, so that none of these is ever refused."""

    retry_after: Literal["none", "seconds", "date"] = "none"
    """Whether a 429 of the request limit carries `Retry-After`, and in which form. None is
    documented. Either form asks for real seconds, at least 1."""

    def __attrs_post_init__(self) -> None:
        """Check every switch."""
        for name, positions in _positions().items():
            if getattr(self, name) not in positions:
                raise ValueError(
                    f"assumption {name} cannot be {getattr(self, name)!r};"
                    f" choose from: {', '.join(positions)}"
                )


def _positions() -> dict[str, tuple[str, ...]]:
    hints = get_type_hints(Assumptions)
    return {field.name: get_args(hints[field.name]) for field in attrs.fields(Assumptions)}


def read_assumptions(given: Assumptions | Mapping[str, object] | None) -> Assumptions:
    """Read assumptions from an instance or from names and values.

    Raises:
        ValueError: There is no such switch or position; the text names those there are.
    """
    if isinstance(given, Assumptions):
        return given
    given = {} if given is None else given
    positions = _positions()
    for name in given:
        if name not in positions:
            raise ValueError(f"no assumption {name!r}; choose from: {', '.join(positions)}")
    values = {name: str(value) for name, value in given.items()}
    return Assumptions(**values)  # type: ignore[arg-type]  # checked by the class


def parse_assumptions(texts: Iterable[str]) -> Assumptions:
    """Read assumptions from `name=value` texts.

    Raises:
        ValueError: A text has no `=`, or there is no such switch or position.
    """
    given: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"an assumption is name=value, not {text!r}")
        given[name.strip()] = value.strip()
    return read_assumptions(given)
