"""What goes wrong with S3, in words for people. Knows error codes, not requests.

Nothing of the server's own text is repeated: it may hold what was signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as botocore  # type: ignore[import-untyped]

from vetrina.errors import StoreUnavailable

_MISSING = {"NoSuchKey", "404", "NoSuchVersion"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_WRONG = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "MissingSecurityHeader"}
_REGION = {"301", "307", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_BUSY = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "429"}
_TAKEN = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_NO_CREDENTIALS = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.TokenRetrievalError,
    botocore.SSOError,
)
_BROKEN = (
    botocore.ConnectionError,
    botocore.HTTPClientError,
    botocore.ResponseStreamingError,
    botocore.IncompleteReadError,
)
_RIGHTS = "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failed request means.

    Attributes:
        code: the server's error code; empty when none came.
        status: of the HTTP answer; 0 when none came.
        again: the same request may succeed a moment later.
    """

    code: str
    status: int
    again: bool

    @property
    def missing(self) -> bool:
        """There is no such object."""
        return self.code in _MISSING

    @property
    def taken(self) -> bool:
        """The object was there already, and the request was to create it."""
        return self.code in _TAKEN


def refusal(error: BaseException) -> Refusal:
    """What `error`, raised by s3fs or botocore, means."""
    client = error if isinstance(error, botocore.ClientError) else error.__cause__
    if isinstance(client, botocore.ClientError):
        answer: dict[str, Any] = client.response
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return Refusal(code, status, (status >= 500 and status != 501) or code in _BUSY | _CONFLICT)
    # What has no answer is a connection that failed, unless it never got so far.
    never = isinstance(error, botocore.BotoCoreError) and not isinstance(error, _BROKEN)
    return Refusal("", 0, not never and not isinstance(error, ValueError))


def in_words(error: BaseException, bucket: str, endpoint: str, doing: str) -> StoreUnavailable:
    """The error for people.

    Args:
        doing: what was tried, as in "read index/1.json".
    """
    found = refusal(error)
    place = f"s3://{bucket} at {without_password(endpoint)}" if endpoint else f"s3://{bucket}"
    if found.code == "NoSuchBucket":
        return StoreUnavailable(f"There is no bucket {place}; create it or correct the address")
    if found.code in _EXPIRED:
        return StoreUnavailable(f"The credentials for {place} have expired ({found.code}); renew them and run again")
    if found.code in _WRONG:
        return StoreUnavailable(
            f"The credentials for {place} are not accepted ({found.code}); "
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE"
        )
    if found.code == "RequestTimeTooSkewed":
        return StoreUnavailable(f"The clocks of this machine and of {place} differ too much; set this machine's clock")
    if found.code in _REGION:
        return StoreUnavailable(f"The bucket {place} is in another region; set AWS_DEFAULT_REGION to the bucket's")
    if found.status == 403 or found.code == "AccessDenied":
        return StoreUnavailable(
            f"{place} refuses to {doing}: the credentials are expired or lack a right; it takes {_RIGHTS}"
        )
    if found.again and found.code:
        what = f"{found.status} {found.code}".strip()
        return StoreUnavailable(f"{place} fails: it could not {doing} ({what}, also when tried again); try later")
    if found.code or found.status:
        return StoreUnavailable(f"{place} refuses to {doing} ({found.status} {found.code})")
    return StoreUnavailable(_without_answer(error, place, doing))


def _without_answer(error: BaseException, place: str, doing: str) -> str:
    kind = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return (
            f"There are no usable credentials for {place} ({kind}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, botocore.ProfileNotFound):
        return f"The profile that AWS_PROFILE names is not in the AWS configuration; {place} cannot be opened"
    if isinstance(error, botocore.ParamValidationError):
        return f"{place} is not the address of a bucket; correct it"
    if isinstance(error, botocore.NoRegionError):
        return f"No region is set for {place}; set AWS_DEFAULT_REGION"
    if isinstance(error, ValueError):
        return f"{place} cannot be opened; check AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL ({kind})"
    if isinstance(error, TimeoutError | botocore.ReadTimeoutError):
        return f"{place} is too slow: it could not {doing} in time; try later"
    return f"{place} cannot be reached to {doing} ({kind}); check the network and AWS_ENDPOINT_URL"


def without_password(address: str) -> str:
    """An address as it may be shown."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "its endpoint"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
