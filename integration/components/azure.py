"""Owns an Azure Blob server (Azurite) with containers, and copying a table out of it. Not Data Lake's own protocol, which the sink does not speak either."""

import secrets
from pathlib import Path

import requests
from pyarrow import fs

from .process import Server, cache_folder, free_port, run_folder

# Azurite's only account and its key, both from its manual.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azure:
    """A Blob server in memory. `options` are the storage options that delta-rs and object_store know."""

    def __init__(self):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        program = cache_folder() / "azurite" / "node_modules" / ".bin" / "azurite-blob"
        where = ["--blobHost", "127.0.0.1", "--blobPort", self.port]
        argv = [program, "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--silent", *where]
        self.server = Server("azure", argv, run_folder() / f"azure-{secrets.token_hex(3)}")
        self.options = {
            "azure_storage_account_name": ACCOUNT,
            "azure_storage_account_key": KEY,
            "azure_storage_endpoint": self.endpoint,
            "azure_allow_http": "true",
        }

    def __enter__(self) -> "Azure":
        # Without a signature it refuses, which is an answer.
        self.server.start(lambda: requests.get(self.endpoint, timeout=2).status_code < 500)
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()

    @property
    def client(self) -> fs.AzureFileSystem:
        where = f"127.0.0.1:{self.port}"
        return fs.AzureFileSystem(
            account_name=ACCOUNT,
            account_key=KEY,
            blob_storage_authority=where,
            blob_storage_scheme="http",
            dfs_storage_authority=where,
            dfs_storage_scheme="http",
        )

    def create_container(self, name: str) -> str:
        self.client.create_dir(name)
        return name

    def download(self, container: str, prefix: str, target: Path) -> Path:
        """Copies a prefix to disk, where every reader can read it: paths in a Delta log are relative."""
        target.mkdir(parents=True, exist_ok=True)
        fs.copy_files(f"{container}/{prefix}", str(target), source_filesystem=self.client, destination_filesystem=fs.LocalFileSystem())
        return target
