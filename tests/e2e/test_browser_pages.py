"""The pages in a real browser, on a running archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.archive import Archive, end, start_archive
from tests.e2e.conftest import Watched
from tests.senders import Modality, made_study
from tests.waiting import wait_until

MODALITIES = ("CT", "CR", "DX", "ES", "IO", "MG", "MR", "NM", "OPT", "OT", "PT", "PX", "RF", "SC", "SR", "US")
TOKEN = "the-token-of-this-test"


def _stored(archive: Archive, name: str, patient_id: str, count: int = 3) -> list[Dataset]:
    """A study that the archive has taken and shows."""
    images = made_study(count, patient_id=patient_id)
    for image in images:
        image.PatientName = name
        image.StudyDescription = "Made for a browser"
    Modality(archive.dicom_port, calling_aet="BROWSED").send(images)
    uid = images[0].StudyInstanceUID
    wait_until(lambda: _indexed(archive, uid) == count)
    return images


def _indexed(archive: Archive, study: str) -> int:
    found = archive.json(f"/dicom-web/studies?StudyInstanceUID={study}") or []
    return int(found[0]["00201208"]["Value"][0]) if found else 0


def test_a_stored_study_is_found_as_one_types(archive: Archive, watched: Watched, tmp_path: Path) -> None:
    _stored(archive, "Typewriter^Tess", "TYPED-1")
    _stored(archive, "Otherwise^Olga", "TYPED-2")
    page = watched.page
    page.goto(archive.url + "/")
    row = page.get_by_role("row").filter(has_text="Typewriter, Tess")
    other = page.get_by_role("row").filter(has_text="Otherwise, Olga")
    expect(row).to_contain_text("TYPED-1")
    expect(other).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Patient name or ID").press_sequentially("tess ty", delay=30)
    expect(other).to_have_count(0)
    expect(row).to_be_visible()
    assert "patient=tess+ty" in page.url
    page.screenshot(path=tmp_path / "study-list.png")
    page.get_by_label("Modality").select_option("MR")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(other).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_long_values_stay_within_the_page_and_are_there_whole(
    archive: Archive, watched: Watched, width: int, tmp_path: Path
) -> None:
    name, patient_id = "X" * 40 + "^" + "Y" * 23, f"{width}-" + "P" * 59
    images = made_study(1, patient_id=patient_id)
    images[0].PatientName, images[0].StudyDescription = name, "D" * 64
    images[0].AccessionNumber = "A" * 16
    others = [made_study(1, patient_id=patient_id)[0] for _ in range(15)]
    for image, modality in zip(others, MODALITIES[1:], strict=True):
        image.PatientName, image.Modality = name, modality
        image.StudyInstanceUID = images[0].StudyInstanceUID
    Modality(archive.dicom_port, calling_aet="BROWSED").send([*images, *others])
    wait_until(lambda: _indexed(archive, images[0].StudyInstanceUID) == 16)
    page = watched.page
    page.set_viewport_size({"width": width, "height": 800})
    for path in (
        f"/?patient={patient_id}",
        "/arrivals",
        f"/studies/{images[0].StudyInstanceUID}",
        "/conflicts",
    ):
        page.goto(archive.url + path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{path.split('/')[1][:9] or 'list'}-{width}.png", full_page=True)
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        )
    page.goto(f"{archive.url}/?patient={patient_id}")
    row = page.locator("tbody tr")
    whole = row.get_attribute("title") or ""
    assert patient_id in whole and "X" * 40 in whole and "MR" in whole
    expect(row).to_contain_text("+13")


def test_conflicts_are_counted_on_the_study_list_and_lead_to_their_studies(
    archive: Archive, watched: Watched, tmp_path: Path
) -> None:
    for sex in ("F", "M"):
        images = made_study(1, patient_id="QUARREL-1")
        images[0].PatientName, images[0].PatientSex = f"Quarrel^{sex}", sex
        images[0].StudyDescription = f"Seen as {sex}"
        Modality(archive.dicom_port, calling_aet="BROWSED").send(images)
    page = watched.page

    def counted() -> bool:
        page.goto(archive.url + "/")
        page.wait_for_load_state("networkidle")  # the count comes after the page, and may be a minute old
        return page.get_by_role("link", name=re.compile("conflicts? of identity")).count() == 1

    wait_until(counted)
    page.get_by_role("link", name=re.compile("conflicts? of identity")).click()
    expect(page.get_by_role("heading", name="Conflicts")).to_be_visible()
    page.goto(archive.url + "/conflicts/two-people")
    one = page.get_by_role("listitem").filter(has_text="QUARREL-1")
    expect(one.locator(".differs", has_text="M").last).to_be_visible()
    page.screenshot(path=tmp_path / "conflicts.png")
    one.get_by_role("link", name="Seen as M").click()
    expect(page.get_by_role("heading", name="Quarrel, M")).to_be_visible()


def test_the_search_works_without_scripts(archive: Archive, watched: Watched) -> None:
    _stored(archive, "Scriptless^Sam", "PLAIN-1")
    context = watched.page.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    page = context.new_page()
    page.goto(archive.url + "/")
    page.get_by_label("Patient name or ID").fill("plain-1")
    page.get_by_label("Patient name or ID").press("Enter")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    page.get_by_label("Patient name or ID").fill("PLAIN-1")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row").filter(has_text="Scriptless, Sam")).to_be_visible()
    context.close()


def test_a_study_shows_its_series_images_and_pictures(
    archive: Archive, watched: Watched, tmp_path: Path
) -> None:
    images = _stored(archive, "Opened^Otto", "OPENED-1", count=4)
    page = watched.page
    page.goto(archive.url + "/?patient=OPENED-1")
    page.get_by_role("link", name="Opened, Otto", exact=True).click()
    expect(page.get_by_role("heading", name="Opened, Otto")).to_be_visible()
    expect(page.get_by_text("4 images in 1 series")).to_be_visible()
    picture = page.locator(".card > .picture img")
    expect(picture).to_be_visible()
    page.wait_for_function("() => document.querySelector('.card > .picture img').naturalWidth > 0")
    page.get_by_text("Images", exact=True).last.click()
    expect(page.get_by_role("cell", name="CT Image Storage")).to_have_count(4)
    page.screenshot(path=tmp_path / "study.png")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download image 1 as DICOM").click()
    file = Path(downloading.value.path()).read_bytes()
    assert file[128:132] == b"DICM" and images[0].PixelData in file


def test_what_arrived_says_from_whom(archive: Archive, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.goto(archive.url + "/arrivals")
    _stored(archive, "Arriving^Anna", "ARRIVED-1")
    row = page.get_by_role("row").filter(has_text="Arriving, Anna")
    expect(row).to_contain_text("BROWSED")
    page.screenshot(path=tmp_path / "arrivals.png")


def test_a_node_is_added_echoed_and_removed(archive: Archive, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.goto(archive.url + "/nodes")
    for aet, port in (("ITSELF", archive.dicom_port), ("DEAF", 1)):
        page.get_by_label("AE title").fill(aet)
        page.get_by_label("Host").fill("127.0.0.1")
        page.get_by_label("Port").fill(str(port))
        page.get_by_label("Description").fill("Made for a browser")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("row").filter(has_text=aet)).to_contain_text(f"127.0.0.1:{port}")
    page.get_by_role("button", name="Send a C-ECHO to ITSELF").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"ITSELF answered C-ECHO after \d+ ms"))
    page.screenshot(path=tmp_path / "nodes.png")
    page.get_by_role("button", name="Send a C-ECHO to DEAF").click()
    expect(page.get_by_role("alert")).to_contain_text("DEAF did not answer C-ECHO")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Remove DEAF").click()
    expect(page.get_by_role("row").filter(has_text="DEAF")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    for aet in ("DEAF", "ITSELF"):
        page.get_by_role("button", name=f"Remove {aet}").click()
        expect(page.get_by_role("row").filter(has_text=aet)).to_have_count(0)


def test_a_refused_object_lies_in_quarantine(archive: Archive, watched: Watched, tmp_path: Path) -> None:
    (image,) = made_study(1)
    del image.StudyInstanceUID
    assert _send(archive, image) not in (0x0000, None)
    page = watched.page
    page.goto(archive.url + "/quarantine")
    row = page.get_by_role("row").filter(has_text="Study Instance UID is missing").last
    expect(row).to_contain_text("(0020,000D) StudyInstanceUID")
    page.screenshot(path=tmp_path / "quarantine.png")
    row.get_by_role("link").click()
    expect(page.get_by_text('"calling_aet": "REFUSED"')).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("alert")).to_contain_text("refused again: (0020,000D)")


def _send(archive: Archive, image: Dataset) -> int | None:
    ae = AE(ae_title="REFUSED")
    ae.add_requested_context(CTImageStorage, image.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", archive.dicom_port, ae_title=archive.ae_title)
    assert association.is_established
    status = association.send_c_store(image).get("Status")
    association.release()
    return None if status is None else int(status)


def test_the_interface_is_described_without_the_internet(
    archive: Archive, watched: Watched, tmp_path: Path
) -> None:
    page = watched.page
    page.goto(archive.url + "/docs")
    for path in ("/api/nodes", "/api/quarantine", "/api/arrivals", "/dicom-web/studies", "/wado", "/readyz"):
        expect(page.locator(f'[data-path="{path}"]').first).to_be_visible()
    page.screenshot(path=tmp_path / "docs.png")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Archive]:
    """An empty archive behind a token."""
    running = start_archive(tmp_path, GANTRY_HTTP__BEARER_TOKEN=TOKEN)
    yield running
    end(running)


def test_signing_in_and_out(guarded: Archive, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.goto(guarded.url + "/?modality=CT")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Access token").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.screenshot(path=tmp_path / "sign-in.png")
    watched.complaints.clear()  # Chromium notes the 403 of the guess
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    assert page.url.endswith("/?modality=CT")
    page.get_by_role("link", name="Show all studies").click()
    command = f"dcmsend -aec GANTRY 127.0.0.1 {guarded.dicom_port} +sd +r --no-halt FOLDER"
    expect(page.get_by_text(command)).to_be_visible()
    page.screenshot(path=tmp_path / "empty.png")
    (session,) = page.context.cookies()
    assert session.get("httpOnly") and session.get("sameSite") == "Strict"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(guarded.url + "/nodes")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
