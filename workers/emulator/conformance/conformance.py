#!/usr/bin/env python3
"""Conformance of a Lambda endpoint: one check per call, through boto3 and the `aws` command.

Endpoint-agnostic: nothing here knows which emulator (or account) answers. The function's package is built from a given
bootstrap, which must answer events as `lambda-probe` does (echo by default, `{"command": ...}` otherwise).

    conformance.py --endpoint http://127.0.0.1:9001 --bootstrap PATH [--json FILE] [--aws aws]

Needs boto3. Exit code 0 when every check passed, 1 otherwise. Prints a table; `--json` writes the same as one object.
"""

import argparse
import base64
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/conformance"
CHECKS = []


def check(name):
    """Registers a check under the name of the call that it is about."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


class Skip(Exception):
    """The check does not apply here; its text says why."""


class Context:
    """What the checks share: a client, the package, and a function that exists while they run."""

    def __init__(self, endpoint, package, aws):
        self.endpoint = endpoint
        self.package = package
        self.aws = aws
        self.name = f"conformance-{os.getpid()}"
        self.client = boto3.client(
            "lambda",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def create(self, name, **changes):
        body = {
            "FunctionName": name,
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": ROLE,
            "Code": {"ZipFile": self.package},
            "MemorySize": 512,
            "Timeout": 5,
        }
        body.update(changes)
        return self.client.create_function(**body)

    def settle(self, name=None):
        """Waits until the function is active and no update is in progress."""
        for _ in range(300):
            shown = self.client.get_function_configuration(FunctionName=name or self.name)
            if shown.get("State") == "Active" and shown.get("LastUpdateStatus") == "Successful":
                return shown
            time.sleep(0.1)
        raise AssertionError("the function never settled")

    def invoke(self, payload, name=None, **changes):
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.client.invoke(FunctionName=name or self.name, Payload=text, **changes)


def refused(call, code, status, text=""):
    """Asserts that `call` is refused with this code, status and text."""
    try:
        call()
    except ClientError as error:
        got = error.response["Error"]
        seen = (got["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        codes = code if isinstance(code, tuple) else (code,)
        assert seen[0] in codes and seen[1] == status, f"refused with {seen}, expected {(code, status)}: {got['Message'][:120]}"
        assert text in got["Message"], f"worded `{got['Message'][:160]}`"
        return error.response
    raise AssertionError(f"accepted, expected {code}")


def same(got, expected, what=""):
    assert got == expected, f"{what} is {got!r}, expected {expected!r}"


# --- functions -------------------------------------------------------------------------------------------------------


@check("CreateFunction: pending, then active")
def _(c):
    made = c.create(c.name)
    same(made["State"], "Pending", "State")
    same(made["Version"], "$LATEST", "Version")
    assert made["FunctionArn"].endswith(f":function:{c.name}")
    c.settle()


@check("CreateFunction: the name is taken")
def _(c):
    refused(lambda: c.create(c.name), "ResourceConflictException", 409, "Function already exist")


@check("CreateFunction: memory below 128")
def _(c):
    # botocore itself checks minima, so this goes through the command line of an unvalidated client.
    client = boto3.client("lambda", endpoint_url=c.endpoint, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t",
                          config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    refused(lambda: client.create_function(FunctionName=c.name + "-x1", Runtime="provided.al2023", Handler="b", Role=ROLE,
                                           Code={"ZipFile": c.package}, MemorySize=64), "ValidationException", 400, "memorySize")


@check("CreateFunction: memory above 10240")
def _(c):
    refused(lambda: c.create(c.name + "-x2", MemorySize=10241), ("InvalidParameterValueException", "ValidationException"), 400)


@check("CreateFunction: timeout above 900")
def _(c):
    refused(lambda: c.create(c.name + "-x3", Timeout=901), ("ValidationException", "InvalidParameterValueException"), 400)


@check("CreateFunction: unknown runtime")
def _(c):
    refused(lambda: c.create(c.name + "-x4", Runtime="cobol"), "InvalidParameterValueException", 400)


@check("CreateFunction: no zip file")
def _(c):
    refused(lambda: c.create(c.name + "-x5", Code={"ZipFile": b"no zip"}), "InvalidParameterValueException", 400, "unzip")


@check("CreateFunction: reserved environment variable")
def _(c):
    refused(lambda: c.create(c.name + "-x6", Environment={"Variables": {"AWS_REGION": "x"}}), "InvalidParameterValueException", 400, "eserved")


@check("GetFunction")
def _(c):
    got = c.client.get_function(FunctionName=c.name)
    same(got["Configuration"]["MemorySize"], 512, "MemorySize")
    assert "Location" in got["Code"]


@check("GetFunction: unknown")
def _(c):
    refused(lambda: c.client.get_function(FunctionName="absent"), "ResourceNotFoundException", 404, "Function not found")


@check("GetFunctionConfiguration")
def _(c):
    got = c.client.get_function_configuration(FunctionName=c.name)
    same(got["Architectures"], ["x86_64"], "Architectures")
    same(got["PackageType"], "Zip", "PackageType")


@check("ListFunctions")
def _(c):
    pages = c.client.get_paginator("list_functions").paginate()
    assert c.name in [it["FunctionName"] for page in pages for it in page["Functions"]]


# --- invocations -----------------------------------------------------------------------------------------------------


@check("Invoke: answer, version, status")
def _(c):
    got = c.invoke({"x": 1})
    same(json.loads(got["Payload"].read()), {"x": 1}, "Payload")
    same((got["StatusCode"], got["ExecutedVersion"]), (200, "$LATEST"), "status and version")
    assert "FunctionError" not in got


@check("Invoke: LogType=Tail has the REPORT line")
def _(c):
    tail = base64.b64decode(c.invoke({}, LogType="Tail")["LogResult"]).decode()
    for field in ("START RequestId: ", "END RequestId: ", "REPORT RequestId: ", "\tDuration: ", "\tBilled Duration: ",
                  "\tMemory Size: 512 MB", "\tMax Memory Used: "):
        assert field in tail, f"no `{field.strip()}`"


@check("Invoke: the tail is at most 4 KB")
def _(c):
    tail = base64.b64decode(c.invoke({"command": "print", "text": "x" * 9000}, LogType="Tail")["LogResult"])
    assert len(tail) <= 4096, f"{len(tail)} bytes"
    assert b"REPORT" in tail


@check("Invoke: a warm second invocation")
def _(c):
    ids = [json.loads(c.invoke({"command": "who"})["Payload"].read())["process_id"] for _ in range(3)]
    same(len(set(ids)), 1, "number of processes")


@check("Invoke: no payload is an empty object")
def _(c):
    same(json.loads(c.client.invoke(FunctionName=c.name)["Payload"].read()), {}, "Payload")


@check("Invoke: function ARN")
def _(c):
    arn = c.client.get_function_configuration(FunctionName=c.name)["FunctionArn"]
    same(c.invoke({}, name=arn)["StatusCode"], 200, "StatusCode")


@check("Invoke: malformed JSON")
def _(c):
    refused(lambda: c.invoke(b"no json"), "InvalidRequestContentException", 400, "Could not parse request body into json")


@check("Invoke: unknown function")
def _(c):
    refused(lambda: c.invoke({}, name="absent"), "ResourceNotFoundException", 404, "Function not found")


@check("Invoke: DryRun")
def _(c):
    same(c.invoke({}, InvocationType="DryRun")["StatusCode"], 204, "StatusCode")


@check("Invoke: Event")
def _(c):
    same(c.invoke({}, InvocationType="Event")["StatusCode"], 202, "StatusCode")


@check("Invoke: function error")
def _(c):
    got = c.invoke({"command": "error", "kind": "Probe.Error"})
    same(got["StatusCode"], 200, "StatusCode")
    same(got["FunctionError"], "Unhandled", "FunctionError")
    same(json.loads(got["Payload"].read())["errorType"], "Probe.Error", "errorType")


@check("Invoke: the bootstrap exits")
def _(c):
    got = c.invoke({"command": "exit", "code": 3})
    body = json.loads(got["Payload"].read())
    same((got.get("FunctionError"), body.get("errorType")), ("Unhandled", "Runtime.ExitError"), "error")
    assert "exit status 3" in body["errorMessage"], body["errorMessage"]


@check("Invoke: time-out")
def _(c):
    got = c.invoke({"command": "sleep", "ms": 30000})
    body = json.loads(got["Payload"].read())
    same(got.get("FunctionError"), "Unhandled", "FunctionError")
    assert "Task timed out after 5.00 seconds" in body["errorMessage"], body["errorMessage"]
    same(body.get("errorType"), "Sandbox.Timedout", "errorType")


@check("Invoke: response over 6 MB")
def _(c):
    got = c.invoke({"command": "oversize", "bytes": 7_000_000})
    body = json.loads(got["Payload"].read())
    same((got.get("FunctionError"), body.get("errorType")), ("Unhandled", "Function.ResponseSizeTooLarge"), "error")


@check("Invoke: request over 6 MB")
def _(c):
    refused(lambda: c.invoke(json.dumps("x" * 6_291_456).encode()), ("RequestTooLargeException", "RequestEntityTooLargeException"), 413,
            "6291456")


@check("Invoke: environment of the function")
def _(c):
    env = json.loads(c.invoke({"command": "env"})["Payload"].read())
    same((env["AWS_LAMBDA_FUNCTION_NAME"], env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]), (c.name, "512"), "environment")
    for variable in ("_HANDLER", "LAMBDA_TASK_ROOT", "AWS_REGION", "AWS_LAMBDA_FUNCTION_VERSION", "TZ"):
        assert variable in env, f"no {variable}"


@check("Invoke: memory limit")
def _(c):
    small = c.name + "-small"
    c.create(small, MemorySize=128, Timeout=60)  # taking 128 MB takes a small share of a CPU a while
    c.settle(small)
    got = c.invoke({"command": "allocate", "mib": 300}, name=small)
    c.client.delete_function(FunctionName=small)
    body = json.loads(got["Payload"].read())
    same(got.get("FunctionError"), "Unhandled", "FunctionError")
    assert body.get("errorType") in ("Runtime.OutOfMemory", "Runtime.ExitError"), body


# --- updates, versions, aliases --------------------------------------------------------------------------------------


@check("UpdateFunctionConfiguration: in progress, conflict, done")
def _(c):
    got = c.client.update_function_configuration(FunctionName=c.name, MemorySize=1024)
    same(got["LastUpdateStatus"], "InProgress", "LastUpdateStatus")
    refused(lambda: c.client.update_function_configuration(FunctionName=c.name, MemorySize=256), "ResourceConflictException", 409, "update is in progress")
    same(c.settle()["MemorySize"], 1024, "MemorySize")


@check("UpdateFunctionConfiguration: wrong revision")
def _(c):
    refused(lambda: c.client.update_function_configuration(FunctionName=c.name, MemorySize=256, RevisionId="x"), "PreconditionFailedException", 412)


@check("UpdateFunctionCode")
def _(c):
    got = c.client.update_function_code(FunctionName=c.name, ZipFile=c.package)
    assert got["CodeSha256"]
    c.settle()


@check("PublishVersion: the same content is the same version")
def _(c):
    same(c.client.publish_version(FunctionName=c.name)["Version"], "1", "Version")
    same(c.client.publish_version(FunctionName=c.name)["Version"], "1", "Version")


@check("PublishVersion: changed content is a new version")
def _(c):
    c.client.update_function_configuration(FunctionName=c.name, MemorySize=512)
    c.settle()
    same(c.client.publish_version(FunctionName=c.name)["Version"], "2", "Version")
    listed = c.client.list_versions_by_function(FunctionName=c.name)["Versions"]
    same([it["Version"] for it in listed], ["$LATEST", "1", "2"], "versions")


@check("Invoke: by version")
def _(c):
    same(c.invoke({}, Qualifier="1")["ExecutedVersion"], "1", "ExecutedVersion")
    same(c.invoke({}, name=f"{c.name}:2")["ExecutedVersion"], "2", "ExecutedVersion")
    env = json.loads(c.invoke({"command": "env"}, Qualifier="1")["Payload"].read())
    same(env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "1024", "memory of version 1")


@check("CreateAlias, GetAlias, ListAliases")
def _(c):
    made = c.client.create_alias(FunctionName=c.name, Name="live", FunctionVersion="1")
    assert made["AliasArn"].endswith(f":{c.name}:live")
    same(c.client.get_alias(FunctionName=c.name, Name="live")["FunctionVersion"], "1", "FunctionVersion")
    same(len(c.client.list_aliases(FunctionName=c.name)["Aliases"]), 1, "aliases")
    refused(lambda: c.client.create_alias(FunctionName=c.name, Name="live", FunctionVersion="1"), "ResourceConflictException", 409)


@check("CreateAlias: unknown version")
def _(c):
    refused(lambda: c.client.create_alias(FunctionName=c.name, Name="no", FunctionVersion="99"), "ResourceNotFoundException", 404)


@check("Invoke: by alias")
def _(c):
    same(c.invoke({}, Qualifier="live")["ExecutedVersion"], "1", "ExecutedVersion")


@check("UpdateAlias: weights split the traffic")
def _(c):
    c.client.update_alias(FunctionName=c.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    seen = {c.invoke({}, Qualifier="live")["ExecutedVersion"] for _ in range(30)}
    same(seen, {"1", "2"}, "executed versions")


@check("UpdateAlias: wrong revision")
def _(c):
    refused(lambda: c.client.update_alias(FunctionName=c.name, Name="live", FunctionVersion="2", RevisionId="x"), "PreconditionFailedException", 412)


@check("DeleteFunction: a version that an alias uses")
def _(c):
    refused(lambda: c.client.delete_function(FunctionName=c.name, Qualifier="1"), "ResourceConflictException", 409)


@check("DeleteAlias, then DeleteFunction of a version")
def _(c):
    c.client.delete_alias(FunctionName=c.name, Name="live")
    refused(lambda: c.client.get_alias(FunctionName=c.name, Name="live"), "ResourceNotFoundException", 404)
    c.client.delete_function(FunctionName=c.name, Qualifier="1")
    refused(lambda: c.invoke({}, Qualifier="1"), "ResourceNotFoundException", 404)


# --- concurrency -----------------------------------------------------------------------------------------------------


@check("PutFunctionConcurrency, GetFunctionConcurrency")
def _(c):
    same(c.client.put_function_concurrency(FunctionName=c.name, ReservedConcurrentExecutions=1)["ReservedConcurrentExecutions"], 1, "units")
    same(c.client.get_function_concurrency(FunctionName=c.name)["ReservedConcurrentExecutions"], 1, "units")


@check("Invoke: throttled at the reserved concurrency")
def _(c):
    busy = threading.Thread(target=lambda: c.invoke({"command": "sleep", "ms": 3000}))
    busy.start()
    time.sleep(1.0)
    response = refused(lambda: c.invoke({}), "TooManyRequestsException", 429)
    busy.join()
    same(response.get("Reason"), "ReservedFunctionConcurrentInvocationLimitExceeded", "Reason")


@check("Invoke: throttled answers have Retry-After")
def _(c):
    c.client.put_function_concurrency(FunctionName=c.name, ReservedConcurrentExecutions=0)
    response = refused(lambda: c.invoke({}), "TooManyRequestsException", 429)
    c.client.delete_function_concurrency(FunctionName=c.name)
    assert "retryAfterSeconds" in response or "retry-after" in response["ResponseMetadata"]["HTTPHeaders"]


@check("PutFunctionConcurrency: too many units")
def _(c):
    refused(lambda: c.client.put_function_concurrency(FunctionName=c.name, ReservedConcurrentExecutions=100000), "InvalidParameterValueException", 400, "UnreservedConcurrentExecution")


@check("DeleteFunctionConcurrency")
def _(c):
    c.client.delete_function_concurrency(FunctionName=c.name)
    same(c.invoke({})["StatusCode"], 200, "StatusCode")


@check("GetAccountSettings")
def _(c):
    limit = c.client.get_account_settings()["AccountLimit"]
    assert limit["ConcurrentExecutions"] >= limit["UnreservedConcurrentExecutions"] > 0


# --- the aws command -------------------------------------------------------------------------------------------------


def aws(c, *arguments, expect=0):
    environment = dict(os.environ, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1",
                       AWS_MAX_ATTEMPTS="1", AWS_PAGER="")
    command = [c.aws, "lambda", *arguments, "--endpoint-url", c.endpoint]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    except FileNotFoundError as error:
        raise Skip("the aws command is not installed") from error
    assert (done.returncode == 0) == (expect == 0), (done.stderr or done.stdout)[-300:]
    return done.stdout if expect == 0 else done.stderr


@check("aws: create-function, publish-version, create-alias, invoke, delete-function")
def _(c):
    name = c.name + "-cli"
    with tempfile.TemporaryDirectory() as folder:
        zip_path, out = os.path.join(folder, "package.zip"), os.path.join(folder, "out.json")
        with open(zip_path, "wb") as file:
            file.write(c.package)
        aws(c, "create-function", "--function-name", name, "--runtime", "provided.al2023", "--handler", "bootstrap", "--role", ROLE,
            "--zip-file", f"fileb://{zip_path}", "--memory-size", "256")
        c.settle(name)
        aws(c, "publish-version", "--function-name", name)
        aws(c, "create-alias", "--function-name", name, "--name", "live", "--function-version", "1")
        aws(c, "update-function-configuration", "--function-name", name, "--memory-size", "512")
        c.settle(name)
        shown = json.loads(aws(c, "invoke", "--function-name", f"{name}:live", "--payload", '{"a":1}', "--log-type", "Tail", out))
        same((shown["StatusCode"], shown["ExecutedVersion"]), (200, "1"), "status and version")
        assert b"REPORT RequestId" in base64.b64decode(shown["LogResult"])
        with open(out, encoding="utf-8") as file:
            same(json.load(file), {"a": 1}, "payload")
        aws(c, "delete-function", "--function-name", name)


@check("aws: a throttle and a too large payload are reported")
def _(c):
    with tempfile.TemporaryDirectory() as folder:
        out, big = os.path.join(folder, "out.json"), os.path.join(folder, "big.json")
        aws(c, "put-function-concurrency", "--function-name", c.name, "--reserved-concurrent-executions", "0")
        text = aws(c, "invoke", "--function-name", c.name, out, expect=1)
        aws(c, "delete-function-concurrency", "--function-name", c.name)
        assert "TooManyRequestsException" in text, text[-300:]
        with open(big, "w", encoding="utf-8") as file:
            json.dump("x" * 6_400_000, file)
        text = aws(c, "invoke", "--function-name", c.name, "--payload", f"file://{big}", out, expect=1)
        assert "TooLargeException" in text, text[-300:]


@check("DeleteFunction")
def _(c):
    c.client.delete_function(FunctionName=c.name)
    refused(lambda: c.invoke({}), "ResourceNotFoundException", 404)


def package_of(path):
    """A zip with the file at `path` as its executable `bootstrap`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("bootstrap")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        with open(path, "rb") as file:
            archive.writestr(info, file.read())
    return buffer.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--json")
    parser.add_argument("--aws", default="aws")
    options = parser.parse_args()
    context = Context(options.endpoint, package_of(options.bootstrap), options.aws)
    rows = []
    for name, function in CHECKS:
        begin = time.monotonic()
        try:
            function(context)
            result, note = "pass", ""
        except Skip as skipped:
            result, note = "skip", str(skipped)
        except Exception as error:  # every way of failing is a row of the table
            result, note = "FAIL", f"{type(error).__name__}: {error}".splitlines()[0][:200] if str(error) else type(error).__name__
        rows.append({"check": name, "result": result, "note": note, "ms": round((time.monotonic() - begin) * 1000)})
        print(f"{result:4}  {name:72} {note}", flush=True)
    counts = {kind: sum(row["result"] == kind for row in rows) for kind in ("pass", "FAIL", "skip")}
    print(f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} skipped of {len(rows)} (botocore {botocore.__version__})")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"endpoint": options.endpoint, "counts": counts, "rows": rows}, file, indent=1)
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
