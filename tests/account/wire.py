"""What a boto3 client is to a gateway: methods by operation, the service model's exception classes, paginators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from botocore import xform_name
from botocore.errorfactory import ClientExceptionsFactory
from botocore.exceptions import ClientError, ParamValidationError
from botocore.session import get_session
from botocore.validate import ParamValidator

Calling = Callable[..., Any]


class Refused(Exception):
    """A call that AWS refuses, by the code that goes over the wire."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@cache
def model(service: str) -> Any:
    """botocore's model of a service."""
    return get_session().get_service_model(service)


@cache
def exceptions(service: str) -> Any:
    """What a client of the service has as `exceptions`; EC2 models no errors, and its model is large."""
    return _Unmodelled() if service == "ec2" else ClientExceptionsFactory().create_client_exceptions(model(service))


class _Unmodelled:
    ClientError = ClientError

    def from_code(self, code: str) -> type[ClientError]:
        return ClientError


def error(service: str, operation: str, code: str, message: str) -> ClientError:
    """The exception that a client raises for an error code."""
    told = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return exceptions(service).from_code(code)(told, operation)


@cache
def documented(service: str, operation: str) -> tuple[str, ...]:
    """The error codes that the service model lists for an operation."""
    if service == "ec2":
        return ()
    shapes = model(service).operation_model(operation).error_shapes
    return tuple(sorted(shape.metadata.get("error", {}).get("code", shape.name) for shape in shapes))


@cache
def _tokens(service: str, operation: str) -> tuple[str, str]:
    if service == "ec2":
        return "NextToken", "NextToken"
    found = get_session().get_component("data_loader").load_service_model(service, "paginators-1")
    told = found["pagination"][operation]
    return told["input_token"], told["output_token"]


def validate(service: str, operation: str, params: dict[str, Any]) -> None:
    """Raises ParamValidationError as a client does before it sends anything."""
    report = ParamValidator().validate(params, model(service).operation_model(operation).input_shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


class Client:
    """A client for the operations that `answers` has a method for; `calling` carries each call out."""

    def __init__(self, service: str, answers: Any, calling: Calling) -> None:
        self._service = service
        self.exceptions = exceptions(service)
        self._operations = {}
        for name in answers.operations:
            method = xform_name(name)
            self._operations[method] = name
            setattr(self, method, partial(calling, service, name, getattr(answers, method)))

    def get_paginator(self, method: str) -> _Paginator:
        """The paginator of an operation."""
        return _Paginator(getattr(self, method), *_tokens(self._service, self._operations[method]))

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"the account does not answer {self._service}:{name}")


class _Paginator:
    def __init__(self, method: Calling, input_token: str, output_token: str) -> None:
        self._method, self._input, self._output = method, input_token, output_token

    def paginate(self, **params: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._method(**params)
            yield page
            token = page.get(self._output)
            if not token:
                return
            params = {**params, self._input: token}


def page(found: list[Any], size: int, token: str, code: str = "InvalidNextToken") -> tuple[list[Any], str]:
    """One page of what was found, and the token of the next one; empty where there is none. Refuses a bad token."""
    if not (token or "0").isdecimal():
        raise Refused(code, "The token is not valid.")
    start = int(token or 0)
    return found[start : start + size], str(start + size) if len(found) > start + size else ""
