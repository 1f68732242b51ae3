"""OHIF at ``/viewer/``, one click from the study list, showing a series that was sent over DICOM."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageStat
from playwright.sync_api import Page, expect
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests import tools
from tests.archive import Archive
from tests.e2e.conftest import Watched
from tests.senders import Modality, made_study
from tests.waiting import wait_until

SLICES = 24
SHOWN_SECONDS = 120
_BLANK = 5.0
"""The standard deviation of grey values below which a picture shows nothing."""


@pytest.fixture
def viewer() -> None:
    """The installed viewer, or the test is skipped and the viewer listed at the end."""
    if not (Path(sys.prefix) / "share" / "gantry" / "viewer" / "index.html").is_file():
        tools.report_absent("viewer")
        pytest.skip("the viewer is absent")


def _slices(corpus: Path) -> Sequence[Dataset]:
    """A CT series from the corpus, else a made one."""
    files = sorted((corpus / "ct-phantom-fda-native").glob("*.dcm"))[:SLICES]
    return [dcmread(file) for file in files] or made_study(SLICES, rows=128)


def test_a_ct_series_is_shown_one_click_from_the_list(
    viewer: None, archive: Archive, corpus: Path, watched: Watched, tmp_path: Path
) -> None:
    slices = _slices(corpus)
    Modality(archive.dicom_port).send(slices)
    study = slices[0].StudyInstanceUID
    wait_until(lambda: _indexed(archive, study) >= len(slices))
    page = watched.page
    page.goto(f"{archive.url}/?patient={slices[0].PatientID}")
    row = page.get_by_role("row").filter(has=page.locator(f'a[href$="/studies/{study}"]'))
    row.get_by_role("link", name="View").click()
    canvas = page.locator(".cornerstone-viewport-element canvas").first
    expect(canvas).to_be_visible(timeout=SHOWN_SECONDS * 1000)
    shown = _wait_until_shown(page)
    (tmp_path / "viewer.png").write_bytes(shown)
    assert page.url.startswith(f"{archive.url}/viewer/viewer?StudyInstanceUIDs={study}")


def _wait_until_shown(page: Page) -> bytes:
    """The page, once its viewport shows more than one shade of grey."""
    element = page.locator(".cornerstone-viewport-element").first
    for _ in range(SHOWN_SECONDS * 2):
        picture = Image.open(io.BytesIO(element.screenshot())).convert("L")
        middle = picture.crop(tuple(side * part // 4 for part in (1, 3) for side in picture.size))
        if ImageStat.Stat(middle).stddev[0] > _BLANK:
            return page.screenshot()
        page.wait_for_timeout(500)
    pytest.fail("the viewer showed no picture")


def _indexed(archive: Archive, study: str) -> int:
    found = archive.json(f"/dicom-web/studies?StudyInstanceUID={study}") or []
    return int(found[0]["00201208"]["Value"][0]) if found else 0
