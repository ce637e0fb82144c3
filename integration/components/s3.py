"""Owns an S3 server (moto, with an atomic put-if-absent) with buckets, which speaks Google's dialect too, and copying a table out of it. Not faults of a store: those are offline tests."""

import json
import secrets
import sys
from pathlib import Path

import boto3
import requests

from .process import Server, free_port, run_folder

ACCESS_KEY = "lakeward-test"
SECRET_KEY = "lakeward-test-secret"
REGION = "eu-central-1"


class S3:
    """An S3 server in memory. `options` are the storage options that delta-rs and object_store know."""

    def __init__(self):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        argv = [sys.executable, "-m", "components.atomic_moto", "-H", "127.0.0.1", "-p", self.port]
        self.server = Server("s3", argv, run_folder() / f"s3-{secrets.token_hex(3)}", {"PYTHONPATH": str(Path(__file__).parents[1])})
        self.options = {
            "aws_endpoint": self.endpoint,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_region": REGION,
            "aws_allow_http": "true",
        }

        # A service account that asks nobody for a token.
        account = {"gcs_base_url": self.endpoint, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        self.google_options = {"google_service_account_key": json.dumps(account), "google_allow_http": "true"}

    def __enter__(self) -> "S3":
        self.server.start(lambda: requests.get(self.endpoint, timeout=2).ok)
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()

    def service(self, name: str, user: dict | None = None):
        options = user or self.options
        key, secret = options["aws_access_key_id"], options["aws_secret_access_key"]
        return boto3.client(name, endpoint_url=self.endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION)

    @property
    def client(self):
        return self.service("s3")

    def create_user(self, name: str, **policy) -> dict:
        """The storage options of a user who may do what the policy says, as soon as rights are checked."""
        iam = self.service("iam")
        iam.create_user(UserName=name)
        if policy:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **policy}]}
            iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {**self.options, "aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

    def check_rights(self) -> None:
        """From here on only users that were created may do anything: not `client` either, for good."""
        requests.post(f"{self.endpoint}/moto-api/reset-auth", data="0", timeout=5).raise_for_status()

    def create_bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def download(self, bucket: str, prefix: str, target: Path, user: dict | None = None) -> Path:
        """Copies a prefix to disk, where every reader can read it: paths in a Delta log are relative."""
        client = self.service("s3", user)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for entry in page.get("Contents", []):
                file = target / entry["Key"].removeprefix(f"{prefix}/")
                file.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, entry["Key"], str(file))
        return target
