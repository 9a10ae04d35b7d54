"""Shows every API call that moto answers, and every event that a service would send by itself, to those who ask."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import RLock
from typing import Any

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import determine_request_protocol
from moto.core.responses import BaseResponse
from moto.core.utils import get_service_model

from local.strict.overlay import lay

# moto is a single-threaded imitation: conditional writes are only atomic when calls do not overlap.
one_at_a_time = RLock()


READS = ("Describe", "List", "Get", "Receive", "Query", "Scan", "BatchGet", "Filter")
"""How the names of the calls begin that ask for no change."""


@dataclass(frozen=True)
class Call:
    """One API call: its parameters by their names in the service's model, its error code or None, and its answer."""

    service: str
    operation: str
    params: dict[str, Any]
    error: str | None
    result: Any
    caller: str  # the access key id
    trace: str  # the X-Amzn-Trace-Id header, by which Lambda recognises recursive loops

    @property
    def is_write(self) -> bool:
        """True for a call that asks for a change."""
        return not self.operation.startswith(READS)


@dataclass(frozen=True)
class Happening:
    """What a service reports by itself, in the words of its EventBridge event."""

    source: str
    detail_type: str
    detail: dict[str, Any]
    resources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """How a call ends badly: its error code, and whether it took effect all the same."""

    code: str
    takes_effect: bool = False


_observers: list[Callable[[Call], None]] = []
_misfortunes: list[Callable[[str, str, str], Failure | None]] = []
_listeners: list[Callable[[Happening], None]] = []


@contextmanager
def _joined(those: list[Any], callback: Any) -> Iterator[None]:
    those.append(callback)
    try:
        yield
    finally:
        those.remove(callback)


def observe(callback: Callable[[Call], None]) -> Any:
    """While the returned context lasts, hands every call to `callback`, before its effect shows; it must not block."""
    return _joined(_observers, callback)


def misfortune(callback: Callable[[str, str, str], Failure | None]) -> Any:
    """While the returned context lasts, asks `callback` of each call (service, operation, caller) how it is to fail."""
    return _joined(_misfortunes, callback)


def listen(callback: Callable[[Happening], None]) -> Any:
    """While the returned context lasts, hands to `callback` whatever the services report; it must not block."""
    return _joined(_listeners, callback)


def announce(source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
    """Reports an event in the name of a service."""
    for callback in list(_listeners):
        callback(Happening(source, detail_type, detail, resources))


def _params(response: BaseResponse, operation: str, request: Any) -> dict[str, Any]:
    model = get_service_model(response.boto3_service_name)
    parser = PROTOCOL_PARSERS[determine_request_protocol(model, request.content_type)]
    asked = {"method": request.method, "values": request.values, "headers": request.headers, "body": request.data}
    asked |= {"url_path": request.path, "url_params": response.uri_match}
    return dict(parser(model.operation_model(operation), map_type=dict).parse(asked))


def _error_code(body: Any) -> str:
    text = body.decode() if isinstance(body, bytes) else str(body)
    found = re.search(r'<Code>([^<]+)</Code>|"__type":\s*"(?:[^"#]*#)?([^"]+)"', text)
    return (found[1] or found[2]) if found else "InternalFailure"


def _answer(response: BaseResponse, request: Any) -> tuple[Any, str | None]:
    """The answer and its error code; what moto lacks becomes an error that SDKs do not try again."""
    try:
        answer = response.call_action()
    except NotImplementedError as lack:
        if not response.is_werkzeug_request:
            raise
        answer = _error(response, request, "NotImplemented", str(lack))
    return answer, None if int(answer[0]) < 400 else _error_code(answer[2])


def _error(response: BaseResponse, request: Any, code: str, message: str) -> Any:
    """An error in the words of the service's protocol; one inside of AWS has a status of its own."""
    text = json.dumps({"__type": code, "message": message})
    if "json" not in request.content_type:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        inner = response.boto3_service_name == "ec2"
        text = f"<Response><Errors>{text}</Errors></Response>" if inner else f"<ErrorResponse>{text}</ErrorResponse>"
    return _STATUS.get(code, 400), response.response_headers, text


_STATUS = {"InternalFailure": 500, "ServiceUnavailable": 503}


class _Watched:
    def _dispatch(self: Any, request: Any, full_url: Any = None, headers: Any = None) -> Any:
        self.setup_class(request, full_url, headers)
        operation = self._get_action()
        params = _params(self, operation, request)
        waits = operation == "ReceiveMessage" and params.get("WaitTimeSeconds")
        with nullcontext() if waits else one_at_a_time:
            asked = self.boto3_service_name, operation, self.get_access_key()
            failure = next(filter(None, (each(*asked) for each in list(_misfortunes))), None)
            error = failure and failure.code
            if failure is None or failure.takes_effect:
                answer, error = _answer(self, request)
            if failure:  # what took effect is no error to those who observe, as to CloudTrail
                answer = _error(self, request, failure.code, "a fault on demand")
            trace = request.headers.get("X-Amzn-Trace-Id", "")
            call = Call(self.boto3_service_name, operation, params, error, answer[2], self.get_access_key(), trace)
            for callback in list(_observers):
                callback(call)
        return answer


def apply() -> None:
    """Puts the watch into moto's one dispatcher."""
    lay(_Watched, BaseResponse)
