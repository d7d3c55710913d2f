"""Schemas of all 200 answers, written from the contract, and what breaks them.

The emulator's code was not looked at for them: a member that it forgets, renames or types wrongly
shows in every test that talks to it.
"""

import re
from functools import cache, lru_cache

import fastjsonschema
import orjson

from fireworks_batch.emulator import Exchange

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
COUNT64 = {"type": "string", "pattern": r"^\d+$"}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
NEW_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"}
NULL = {"type": "null"}
EMPTY = {"type": "object", "maxProperties": 0}


def name_of(collection):
    """Describe a resource name, or the empty text of one that is not set."""
    return {"type": "string", "pattern": rf"^accounts/[^/]+/{collection}/[^/]+$"}


def some(*schemas):
    """Describe what is one of several."""
    return {"anyOf": list(schemas)}


def message(optional=(), **members):
    """Describe an object with these members and no others."""
    return {
        "type": "object",
        "properties": members,
        "required": sorted(members.keys() - set(optional)),
        "additionalProperties": False,
    }


UNSET = {"const": ""}
STATUS = message(
    code={"type": "string", "pattern": "^[A-Z][A-Z_]+$"},
    message=TEXT,
)
PARAMETERS = message(
    optional=("maxTokens", "temperature", "topP", "n", "topK"),
    maxTokens={"type": "integer"},
    temperature={"type": "number"},
    topP={"type": "number"},
    n={"type": "integer"},
    topK={"type": "integer"},
    extraBody=TEXT,
)
PROGRESS = message(
    percent={"type": "integer", "minimum": 0, "maximum": 100},
    epoch=COUNT,
    totalInputRequests=COUNT,
    totalProcessedRequests=COUNT,
    successfullyProcessedRequests=COUNT,
    failedRequests=COUNT,
    outputRows=COUNT,
    inputTokens=COUNT,
    outputTokens=COUNT,
    cachedInputTokenCount=COUNT,
)
LIFECYCLE = message(
    validatedTime=some(TIME, NULL), runStartTime=some(TIME, NULL), endTime=some(TIME, NULL)
)
PLACEMENT = message(
    multiRegion={"enum": ["MULTI_REGION_UNSPECIFIED", "GLOBAL", "US", "EUROPE", "APAC"]},
    region=TEXT,
    regions={"type": "array", "items": TEXT},
)


def job(time, progress, lifecycle, placement):
    """Describe a job, as the create answer or a read has it."""
    return message(
        name=name_of("batchInferenceJobs"),
        displayName=TEXT,
        createTime=time,
        updateTime=time,
        expireTime=time,
        createdBy=TEXT,
        # The enumeration grows, and a test may script a state that nobody knows.
        state={"type": "string", "pattern": "^JOB_STATE_[A-Za-z0-9_]+$"},
        status=STATUS,
        model=some(name_of("models"), name_of("routers"), UNSET),
        inputDatasetId=some(name_of("datasets"), UNSET),
        outputDatasetId=name_of("datasets"),
        inferenceParameters=some(PARAMETERS, NULL),
        precision={"type": "string", "pattern": "^[A-Z][A-Z0-9_]+$"},
        jobProgress=progress,
        lifecycle=lifecycle,
        placement=placement,
        maxJobDuration=some({"type": "string", "pattern": r"^\d+(\.\d+)?s$"}, NULL),
        continuedFromJobName=some(name_of("batchInferenceJobs"), UNSET),
        systemPrompt=TEXT,
        waitingOnCapacity=FLAG,
    )


def dataset(time):
    """Describe a dataset, as the create answer or a read has it."""
    source = message(sourceDatasetId=TEXT)
    sources = {
        "userUploaded": EMPTY,
        "evaluationResult": message(evaluationJobId=TEXT),
        "transformed": message(
            optional=("filter", "originalFormat"),
            sourceDatasetId=TEXT,
            filter=TEXT,
            originalFormat=TEXT,
        ),
        "splitted": source,
        "evalProtocol": EMPTY,
    }
    return message(
        optional=sources,
        name=name_of("datasets"),
        displayName=TEXT,
        createTime=time,
        updateTime=time,
        createdBy=TEXT,
        state={"enum": ["UPLOADING", "READY"]},
        status=STATUS,
        exampleCount=COUNT64,
        estimatedTokenCount=COUNT64,
        averageTurnCount={"type": "number"},
        format={"enum": ["FORMAT_UNSPECIFIED", "CHAT", "COMPLETION", "RL"]},
        externalUrl=TEXT,
        sourceJobName=TEXT,
        encryptionState={"type": "string", "pattern": "^ENCRYPTION_STATE_[A-Z]+$"},
        **sources,
    )


JOB = job(
    TIME,
    some(PROGRESS, NULL),
    some(LIFECYCLE, NULL),
    some(PLACEMENT, NULL),
)
DATASET = dataset(TIME)
ACCOUNT = message(
    name={"type": "string", "pattern": "^accounts/[^/]+$"},
    displayName=TEXT,
    createTime=TIME,
    email=TEXT,
    state=TEXT,
    status=STATUS,
    suspendState=TEXT,
    updateTime=TIME,
)
FILE = message(
    id=name_of("datasets"),
    object={"const": "file"},
    bytes={"type": "integer", "minimum": 1},
    created_at={"type": "integer"},
    filename={"type": "string", "pattern": "^[^/]+$"},
    purpose={"const": "dataset"},
)
URL = {"type": "string", "pattern": r"^http://[^?]+\?(.+&)?X-Goog-Signature=[0-9a-f]+$"}


def page(collection, item):
    """Describe a page of a list; the last one may be without a token."""
    return message(
        optional=("nextPageToken",),
        **{collection: {"type": "array", "items": item, "maxItems": 200}},
        nextPageToken=TEXT,
        totalSize=COUNT,
    )


def urls(key):
    """Describe signed URLs by file."""
    return message(
        filenameToSignedUrls={
            "type": "object",
            "propertyNames": {"pattern": key},
            "additionalProperties": URL,
        }
    )


def relaxed(schema):
    """Describe the same under a read mask: members may be missing, or empty."""
    loose = dict(schema)
    loose.pop("required", None)
    if "properties" in schema:
        inner = schema["properties"].items()
        loose["properties"] = {n: some(relaxed(s), NULL, *ZEROS) for n, s in inner}
    if "items" in schema:
        loose["items"] = relaxed(schema["items"])
    if "anyOf" in schema:
        loose["anyOf"] = [relaxed(choice) for choice in schema["anyOf"]]
    return loose


ZEROS = ({"const": ""}, {"type": "string", "pattern": "_UNSPECIFIED$"})
CREATED_JOB = job(NEW_TIME, NULL, NULL, NULL)

_JOBS = "/v1/accounts/[^/]+/batchInferenceJobs"
_DATASETS = "/v1/accounts/[^/]+/datasets"
SCHEMAS = {
    ("GET", _JOBS): page("batchInferenceJobs", JOB),
    ("POST", _JOBS): CREATED_JOB,
    ("GET", f"{_JOBS}/[^/:]+"): JOB,
    ("DELETE", f"{_JOBS}/[^/:]+"): EMPTY,
    ("GET", _DATASETS): page("datasets", DATASET),
    ("POST", _DATASETS): dataset(NEW_TIME),
    ("GET", f"{_DATASETS}/[^/:]+"): DATASET,
    ("PATCH", f"{_DATASETS}/[^/:]+"): DATASET,
    ("DELETE", f"{_DATASETS}/[^/:]+"): EMPTY,
    ("POST", f"{_DATASETS}/[^/]+:upload"): FILE,
    ("POST", f"{_DATASETS}/[^/]+:getUploadEndpoint"): urls("^[^/]+$"),
    ("POST", f"{_DATASETS}/[^/]+:validateUpload"): EMPTY,
    ("GET", f"{_DATASETS}/[^/]+:getDownloadEndpoint"): urls(r"^[a-z0-9-]+[/_].+$"),
    ("POST", f"{_DATASETS}/[^/]+:splitDataset"): message(
        chunkDatasetNames={"type": "array", "items": name_of("datasets")},
        chunksCreated=COUNT,
        totalExamples=COUNT64,
    ),
    ("GET", "/v1/accounts"): page("accounts", ACCOUNT),
    ("GET", "/verifyApiKey"): EMPTY,
}
_PATTERNS = [(method, re.compile(path), (method, path)) for method, path in SCHEMAS]


@cache
def _check(key, *, is_masked):
    return fastjsonschema.compile(relaxed(SCHEMAS[key]) if is_masked else SCHEMAS[key])


@lru_cache(maxsize=512)
def problem_with(method, path, body, *, is_masked):
    """Say what is wrong with the body of a 200 answer; None if nothing is.

    A job that is polled gives the same body again and again: it is looked at once.
    """
    key = next((key for m, p, key in _PATTERNS if m == method and p.fullmatch(path)), None)
    if key is None:
        return f"no schema for {method} {path}"
    try:
        _check(key, is_masked=is_masked)(orjson.loads(body))
    except fastjsonschema.JsonSchemaValueException as error:
        return f"{method} {path}: {error.message[:500]}, not {error.value!r:.500}"
    return None


def problem_in(exchange: Exchange):
    """Say what is wrong with an exchange; None if nothing is."""
    request = exchange.request
    if request.origin == "storage":
        is_open = "Authorization" not in request.headers
        return None if is_open else f"Authorization on {request.method} {request.path}"
    if request.status != 200 or exchange.body is None or not exchange.is_genuine:
        return None
    is_masked = not {"readMask", "read_mask"}.isdisjoint(request.query)
    return problem_with(request.method, request.path, exchange.body, is_masked=is_masked)
