"""The settings choose the object store."""

from __future__ import annotations

from pathlib import Path

from services.common.adapters.files import FolderStore
from services.common.adapters.s3 import S3Store
from services.common.adapters.stores import open_store, prepare_store
from services.common.settings import CommonSettings, S3Settings, StoreSettings


def test_a_folder_is_made_below_the_data_folder(tmp_path: Path) -> None:
    settings = CommonSettings(data_dir=tmp_path / "data")
    prepare_store(settings)
    prepare_store(settings)
    assert isinstance(open_store(settings), FolderStore)
    assert (tmp_path / "data" / "blobs").is_dir()


def test_an_s3_server_need_not_be_there_to_be_chosen(tmp_path: Path) -> None:
    settings = CommonSettings(
        data_dir=tmp_path,
        store=StoreSettings(kind="s3"),
        s3=S3Settings(endpoint="http://127.0.0.1:1", bucket="images"),
    )
    store = open_store(settings)
    assert isinstance(store, S3Store)
    assert store.bucket == "images"
