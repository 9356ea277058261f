"""Deploys Penstock to AWS with CloudFormation, and takes it away again. Needs the built binaries; `deploy.sh` brings boto3.

Order: bucket, packages, with `--bulk` the state machine of bulk jobs, worker stack, memory ladder (`penstock provision`), gateway stack. Each step is idempotent: a second run
says what is there already, one that was cut off is finished by the next. `down` goes backwards and ends with a list of what is left.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import artifacts
from artifacts import ArtifactError, digest

TEMPLATES = artifacts.DEPLOY / "cloudformation"
# Amazon's slowest part here, a load balancer with its group, takes under ten minutes.
STACK_MINUTES = 30
POLL_SECONDS = 2.0
# Access logs arrive for some minutes after what they tell of; a bucket that is not empty cannot be deleted.
EMPTY_ATTEMPTS = 4


def say(text: str) -> None:
    """A line about what happens, to standard error."""
    print(f"deploy: {text}", file=sys.stderr, flush=True)


class Aws:
    """The services of one region. Credentials and, for a stand-in, AWS_ENDPOINT_URL come from the environment."""

    def __init__(self, region: str) -> None:
        self.cloudformation = boto3.client("cloudformation", region_name=region)
        self.s3 = boto3.client("s3", region_name=region)

    def describe(self, stack: str) -> dict[str, Any]:
        """What there is of a stack; empty if there is none."""
        try:
            found = self.cloudformation.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return {}
            raise
        return found[0] if found and found[0]["StackStatus"] != "DELETE_COMPLETE" else {}

    def outputs(self, stack: str) -> dict[str, str]:
        """A stack's outputs; empty without such a stack."""
        return {pair["OutputKey"]: pair["OutputValue"] for pair in self.describe(stack).get("Outputs", [])}

    def settle(self, stack: str) -> str:
        """Waits until nothing is in progress; gives the status, empty if there is no such stack."""
        end = time.monotonic() + STACK_MINUTES * 60
        while (status := str(self.describe(stack).get("StackStatus", ""))).endswith("_IN_PROGRESS"):
            if time.monotonic() > end:
                raise ArtifactError(f"stack {stack} is still {status} after {STACK_MINUTES} minutes")
            time.sleep(POLL_SECONDS)
        return status

    def deploy(self, stack: str, template: str, parameters: dict[str, object]) -> dict[str, str]:
        """Makes or updates a stack and waits."""
        status = self.settle(stack)
        if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"):
            say(f"stack {stack} was never complete: deleting it first")
            self.delete(stack)
            status = ""
        order: dict[str, Any] = {
            "StackName": stack,
            "TemplateBody": (TEMPLATES / template).read_text(),
            "Parameters": [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": "application", "Value": "penstock"}],
        }
        say(f"stack {stack}: {'updating' if status else 'making'}")
        try:
            self.cloudformation.update_stack(**order) if status else self.cloudformation.create_stack(**order)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            say(f"stack {stack}: nothing to do")
        status = self.settle(stack)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            events = self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
            failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
            reasons = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
            raise ArtifactError("\n".join([f"stack {stack} is {status}", *reasons]))
        return self.outputs(stack)

    def delete(self, stack: str) -> None:
        """Deletes a stack and waits."""
        self.cloudformation.delete_stack(StackName=stack)
        if status := self.settle(stack):
            raise ArtifactError(f"stack {stack} is {status}, not deleted: see its events")

    def upload(self, bucket: str, key: str, data: bytes) -> None:
        """Puts an object unless its key, which holds its digest, is there already."""
        if self.s3.list_objects_v2(Bucket=bucket, Prefix=key).get("KeyCount"):
            say(f"s3://{bucket}/{key} is there already")
            return
        say(f"s3://{bucket}/{key} ({len(data) >> 10} KiB)")
        self.s3.upload_fileobj(io.BytesIO(data), bucket, key)

    def empty(self, bucket: str) -> None:
        """Deletes all versions of all objects."""
        while True:
            try:
                page = self.s3.list_object_versions(Bucket=bucket, MaxKeys=500)
            except self.s3.exceptions.NoSuchBucket:
                return
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            if not found:
                return
            say(f"deleting {len(found)} object versions of s3://{bucket}")
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            done = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            if done.get("Errors"):
                raise ArtifactError(f"s3://{bucket} cannot be emptied: {done['Errors'][0]}")


def configuration(options: argparse.Namespace, bucket: str) -> str:
    """The gateway's configuration for a host."""
    if options.config:
        return Path(options.config).read_text()
    sizes = sorted(options.memory)
    base = options.base_memory
    copy = f'copy = "s3://{bucket}/state"' if options.state_copy == "s3" else "# no copy: a replaced host learns anew"
    return f"""# Written by deploy.py.
[listen]
public_address = "0.0.0.0:8080" # the security group lets the load balancer in, nobody else
admin_address = "127.0.0.1:8081"

[aws]
region = "{options.region}"
invoke_timeout_ms = {(options.timeout_seconds + 5) * 1000}

[state]
directory = "/var/lib/penstock/state"
{copy}

[drain]
drain_delay_ms = 12000 # the load balancer looks every 5 s and wants two failures
drain_limit_ms = 25000 # both together below TimeoutStopSec and the deregistration delay

[log]
format = "json"

[models.{options.model}]
manifest = "models/{options.model}"
function = "{options.function}"
architecture = "{options.architecture}"

[models.{options.model}.plan]
memory_mib = {base}
max_in_flight = {options.max_in_flight}
slo_latency_ms = {options.slo_ms}

[models.{options.model}.policy]
kind = "grey_box"
memory_mib = {sizes}
max_process_count = 6
"""


def config_archive(options: argparse.Namespace, text: str) -> bytes:
    """`penstock.toml` and what the gateway reads of the model: manifest and tokenizer, not the weights."""
    entries = {"penstock.toml": (text.encode(), 0o644)}
    for file in artifacts.model_files(Path(options.model_dir)):
        if file.suffix in (".toml", ".json", ".txt"):
            entries[f"models/{options.model}/{file.name}"] = (file.read_bytes(), 0o644)
    return artifacts.tar_gz(entries)


def provision(options: argparse.Namespace, text: str) -> None:
    """Publishes the memory ladder with the built `penstock`."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "models" / options.model
        model.mkdir(parents=True)
        for file in artifacts.model_files(Path(options.model_dir)):
            (model / file.name).symlink_to(file.resolve())
        config = Path(folder) / "penstock.toml"
        config.write_text(text)
        say("memory ladder: penstock provision")
        environment = dict(os.environ)
        if endpoint := environment.get("AWS_ENDPOINT_URL"):
            environment["PENSTOCK_AWS__ENDPOINT_URL"] = endpoint
        done = subprocess.run([options.penstock, "provision", "--config", str(config)], env=environment)
    if done.returncode != 0:
        raise ArtifactError(f"`penstock provision` ended with {done.returncode}; run this again when its complaint is mended")


def up(options: argparse.Namespace) -> None:
    """Makes or updates everything."""
    aws, limit = Aws(options.region), tuple(map(int, options.max_glibc.split(".")))
    host_binary = Path(options.gateway_binary or options.penstock)
    bootstrap = Path(options.bootstrap)
    artifacts.check_glibc(bootstrap, limit)
    if artifacts.machine(bootstrap) != options.architecture:
        raise ArtifactError(f"{bootstrap} is for {artifacts.machine(bootstrap)}, --architecture says {options.architecture}")
    if options.vpc:
        artifacts.check_glibc(host_binary, limit)

    storage = aws.deploy(f"{options.name}-storage", "storage.yaml", {})
    bucket = storage["ArtifactsBucket"]
    is_zip = options.model_in == "zip"
    package = artifacts.worker_zip(bootstrap, Path(options.model_dir) if is_zip else None, Path(options.onnxruntime))
    code_key = f"worker/{digest(package)}.zip"
    aws.upload(bucket, code_key, package)
    # Empty values are passed on: left out, an update would keep those of the last time.
    model: dict[str, object] = {"ModelBucket": "", "ModelPrefix": "", "ModelVersion": "", "EphemeralStorageMiB": 512}
    if not is_zip:
        files = artifacts.model_files(Path(options.model_dir))
        prefix, release = f"models/{options.model}", digest(files[0].read_bytes())
        for file in files:
            aws.upload(bucket, f"{prefix}/{release}/{file.name}", file.read_bytes())
        size_mib = sum(file.stat().st_size for file in files) >> 20
        model = {"ModelBucket": bucket, "ModelPrefix": prefix, "ModelVersion": release}
        model["EphemeralStorageMiB"] = max(512, size_mib + 128)
    work_bucket = ""
    if options.bulk:
        bulk = aws.deploy(f"{options.name}-bulk", "bulk.yaml", {"FunctionName": options.function, "AccessLogsBucket": storage["AccessLogsBucket"]})
        work_bucket = bulk["WorkBucket"]
        say(f"bulk jobs: --engine step-functions --state-machine {bulk['StateMachineArn']} --work s3://{work_bucket}/jobs")
    parameters = {
        "WorkBucket": work_bucket, "FunctionName": options.function, "Architecture": options.architecture, "BaseMemoryMiB": options.base_memory,
        "TimeoutSeconds": options.timeout_seconds, "CodeBucket": bucket, "CodeKey": code_key,
        "ReservedConcurrency": options.reserved_concurrency, "AlarmTopicArn": options.alarm_topic,
        "S3EndpointUrl": os.environ.get("AWS_ENDPOINT_URL", ""), "BudgetUsd": options.budget_usd, "BudgetEmail": options.budget_email, **model,
    }  # fmt: skip
    aws.deploy(f"{options.name}-worker", "worker.yaml", parameters)
    text = configuration(options, bucket)
    provision(options, text)
    if not options.vpc:
        say("no --vpc: no gateway stack; run `penstock serve` where you like")
        return
    archive, config = artifacts.gateway_archive(host_binary), config_archive(options, text)
    package_key, config_key = f"gateway/{digest(archive)}.tar.gz", f"config/{digest(config)}.tar.gz"
    aws.upload(bucket, package_key, archive)
    aws.upload(bucket, config_key, config)
    host = artifacts.machine(host_binary)
    outputs = aws.deploy(f"{options.name}-gateway", "gateway.yaml", {
        "FunctionName": options.function, "InstanceType": options.instance_type or {"arm64": "t4g.medium", "x86_64": "t3.medium"}[host],
        "ImageId": options.image_parameter or f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{host}",
        "VpcId": options.vpc, "SubnetIds": options.subnets, "VpcCidr": options.vpc_cidr, "CertificateArn": options.certificate,
        "Scheme": options.scheme, "MinInstances": options.instances, "MaxInstances": options.instances + 1, "Bucket": bucket,
        "AccessLogsBucket": storage["AccessLogsBucket"], "PackageKey": package_key, "PackageSha256": digest(archive),
        "ConfigKey": config_key, "ConfigSha256": digest(config), "AlarmTopicArn": options.alarm_topic,
    })  # fmt: skip
    say(f"done: {outputs.get('Url')}")


def down(options: argparse.Namespace) -> None:
    """Deletes everything, the gateway first."""
    aws = Aws(options.region)
    for part in ("gateway", "worker", "bulk"):
        say(f"deleting stack {options.name}-{part}")
        if work_bucket := aws.outputs(f"{options.name}-{part}").get("WorkBucket"):
            aws.empty(work_bucket)
        aws.delete(f"{options.name}-{part}")
    stack = f"{options.name}-storage"
    say(f"deleting stack {stack}")
    for attempts_left in reversed(range(EMPTY_ATTEMPTS)):
        outputs = aws.outputs(stack)
        # Access logs last: emptying the other bucket is logged.
        for key in ("ArtifactsBucket", "AccessLogsBucket"):
            if key in outputs:
                aws.empty(outputs[key])
        try:
            aws.delete(stack)
            break
        except ArtifactError:
            if attempts_left == 0:
                raise
            say("a log was written meanwhile: emptying the buckets again")
    say("nothing is left of these stacks")


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="deploy.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down"):
        command = commands.add_parser(name)
        command.add_argument("--name", default="penstock", help="prefix of the stacks' names")
        command.add_argument("--region", default=os.environ.get("AWS_REGION", "us-east-1"))
    add = commands.choices["up"].add_argument
    add("--model-dir", required=True, help="model folder with model.toml")
    add("--model", help="name of the model in URLs; default: that of model.toml's folder")
    add("--model-in", choices=("zip", "s3"), default="zip", help="where the worker finds the model")
    add("--function", help="default: NAME-MODEL")
    add("--architecture", choices=("x86_64", "arm64"), default="x86_64", help="of the function")
    add("--memory", type=lambda text: [int(size) for size in text.split(",")], default=[1024, 1769, 3008], help="ladder, MiB")
    add("--base-memory", type=int, default=1769, help="size of the first plan, MiB")
    add("--timeout-seconds", type=int, default=30)
    add("--reserved-concurrency", type=int, default=-1)
    add("--max-in-flight", type=int, default=100)
    add("--slo-ms", type=float, default=500.0)
    add("--bulk", action="store_true", help="also a state machine and a bucket for `penstock bulk run --engine step-functions`")
    add("--state-copy", choices=("s3", "none"), default="s3", help="copy of what was learned, for replaced hosts")
    add("--config", help="a configuration of your own instead of the one written here; its function must be --function")
    add("--bootstrap", default=str(artifacts.ROOT / "target/release/bootstrap"))
    add("--penstock", default=str(artifacts.ROOT / "target/release/penstock"), help="runs here, for `provision`")
    add("--gateway-binary", help="goes to the hosts; default: --penstock")
    add("--onnxruntime", default=str(artifacts.ROOT / "target/penstock/onnxruntime/lib/libonnxruntime.so"))
    add("--max-glibc", default="2.34", help="of Lambda and the hosts' image")
    add("--vpc", help="network of the gateways; without it only the worker is deployed")
    add("--vpc-cidr", default="10.0.0.0/8", help="where requests may come from")
    add("--subnets", default="", help="two or more, with commas")
    add("--instances", type=int, default=1, help="gateways")
    add("--instance-type")
    add("--image-parameter", help="public SSM parameter of the hosts' image")
    add("--certificate", default="", help="ARN; then HTTPS")
    add("--scheme", choices=("internal", "internet-facing"), default="internal")
    add("--alarm-topic", default="")
    add("--budget-usd", type=int, default=0)
    add("--budget-email", default="")
    options = parser.parse_args(words)
    if options.command == "up":
        options.model = options.model or Path(options.model_dir).resolve().name
        options.function = options.function or f"{options.name}-{options.model}"
        if options.base_memory not in options.memory:
            options.memory.append(options.base_memory)
    return options


def main() -> int:
    """Runs a command; 1 if a step failed."""
    options = parse(sys.argv[1:])
    try:
        up(options) if options.command == "up" else down(options)
    except (ArtifactError, BotoCoreError, ClientError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
