"""The console in a real browser: what a person sees, with and without scripts, hands or eyes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from schemas.dead_letters import DeadLetter, DeadLetterStatus
from schemas.ids import RuntimeId
from store.ports import Commit
from store.sql import SqlStore
from tests.support.browsing import Look, Served, Tab, served, tab
from tests.support.deployment import Deployment
from tests.support.place import Place, furnished
from tests.support.store import a_letter
from worker.client import Prompt
from worker.clock import now
from worker.dead_letters.dry_run import Verdict
from worker.dead_letters.words import VERDICTS

pytestmark = pytest.mark.chromium

ADA = RuntimeId("ada")
STANDARDS = {
    Look.WIDE: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    Look.NARROW: ["wcag2a", "wcag2aa", "wcag22aa"],
    Look.DARK: ["cat.color"],
}
"""What is asked of a page; in the dark only the colours are others."""

expect.set_options(timeout=20_000)


@dataclass(frozen=True, slots=True)
class Scene:
    """A console on a database in which things are: those of ``Place``, and letters of ada."""

    console: Served
    place: Place
    fine: DeadLetter
    wrong: DeadLetter

    @property
    def pages(self) -> dict[str, str]:
        """Every kind of page by a name."""
        one = f"/dead-letters/{self.wrong.id}"
        hostile = f"/dead-letters/{self.place.letters[0]}"
        return {
            "runtimes": "/runtimes",
            "busy": "/runtimes?order=wait",
            "runtime": "/runtimes/agent-1",
            "ended": "/runtimes/agent-1?show=ended",
            "input": f"/runtimes/agent-1/inputs/{self.place.running}?payload=shown",
            "groups": "/dead-letters",
            "letters": "/dead-letters/list?status=any",
            "trials": "/dead-letters/dry-run",
            "letter": one,
            "hostile": f"{hostile}?payload=shown",
            "trial": f"{one}/dry-run",
            "edit": f"{one}/edit",
            "redrive": "/dead-letters/redrive",
            "discard": "/dead-letters/discard",
            "sign-in": "/sign-in",
        }


@pytest.fixture
async def scene(
    deployment: Deployment, store: SqlStore, variables: dict[str, str]
) -> AsyncIterator[Scene]:
    """Furnish the database and serve it."""
    place = await furnished(deployment.database_url)
    fine, wrong = a_prompt("order 7001"), a_prompt(7002)
    await store.commit([Commit(None, 0, dead_letters=(one,)) for one in (fine, wrong)])
    async with served(**variables) as console:
        yield Scene(console, place, fine, wrong)


def a_prompt(text: object) -> DeadLetter:
    """A letter of ada's; a text that is none is malformed."""
    item = Prompt("fine").to_input()
    name = str(item.header.id)
    detail = (
        "given up after 1 attempt" if isinstance(text, str) else "$.text: expected str, got int"
    )
    body = msgspec.json.encode({**msgspec.to_builtins(item), "text": text})
    properties = {"message_id": name, "type": "input"}
    return a_letter(ADA, message_id=name, properties=properties, body=body, detail=detail, at=now())


@pytest.mark.usefixtures("operator")
async def test_a_letter_is_found_tried_dry_and_redriven_and_its_end_is_seen(
    browser: Browser, scene: Scene, deployment: Deployment, store: SqlStore
) -> None:
    """From the printed link to the closed letter, without one reload by hand."""
    async with deployment.worker(), deployment.executor(), tab(browser) as it:
        page = it.page
        await page.goto(scene.console.sign_in)
        assert "token" not in page.url
        await page.get_by_role("link", name="Dead letters", exact=True).click()
        await it.screenshot("walk-1-groups")
        await page.get_by_role("link", name="given up after 1 attempt").click()
        await page.get_by_role("row").filter(has_text="ada").get_by_role("link").click()
        await page.get_by_role("link", name="Dry run").click()
        await expect(page.get_by_text(VERDICTS[Verdict.PROCESSED])).to_be_visible()
        assert (await _status(store, scene.fine)) is DeadLetterStatus.OPEN
        await it.screenshot("walk-2-dry-run")
        await page.get_by_label("Note").fill("the provider is back")
        await page.get_by_role("button", name="Redrive").click()
        await expect(page.locator(".note[role=status]")).to_contain_text("Redriven.")
        await expect(page.locator("#live .state").first).to_have_text("closed")
        await it.screenshot("walk-3-closed")
    found = await store.dead_letters.get(scene.fine.id)
    assert found is not None
    assert (found[0].status, found[0].note) == ("closed", "the provider is back")


@pytest.mark.usefixtures("operator")
async def test_a_letter_is_mended_tried_and_redriven_with_its_new_body(
    browser: Browser, scene: Scene, deployment: Deployment, store: SqlStore
) -> None:
    async with deployment.worker(), deployment.executor(), tab(browser) as it:
        page = it.page
        await page.goto(scene.console.sign_in)
        await page.goto(f"{scene.console.address}/dead-letters/{scene.wrong.id}")
        await page.get_by_role("link", name="Edit").click()
        body = page.get_by_label("Body")
        await body.fill((await body.input_value()).replace(": 7002", ': "order 7002"'))
        await page.get_by_role("button", name="Dry run").click()
        await expect(page.get_by_text(VERDICTS[Verdict.PROCESSED])).to_be_visible()
        await expect(page.get_by_label("What is changed")).to_contain_text('+  "text": "order')
        await it.screenshot("edit-tried")
        await page.get_by_label("Why").fill("a number for a text")
        await page.get_by_role("button", name="Redrive with this body").click()
        await expect(page.locator("#live .state").first).to_have_text("closed")
    found = await store.dead_letters.get(scene.wrong.id)
    assert found is not None
    assert b'"order 7002"' in found[1]
    assert b"\r" not in found[1]
    [edit] = await store.dead_letters.edits(scene.wrong.id)
    assert (edit.who, edit.why) == ("ada", "a number for a text")


async def test_every_page_can_be_read_by_everybody(browser: Browser, scene: Scene) -> None:
    """Labels, landmarks, headings, contrast by day and by night; 360 pixels are wide enough.

    And what others wrote into it does nothing: no script, no dialog, no request (see ``Tab``).
    """
    async with tab(browser) as it:
        await it.page.goto(scene.console.sign_in)
        for name, path in scene.pages.items():
            answer = await it.page.goto(scene.console.address + path)
            assert answer is not None
            assert answer.status == 200, path
            for look, standards in STANDARDS.items():
                await it.look(look)
                await it.screenshot(f"{name}-{look}")
                assert await _violations(it, standards) == "", f"{path}, {look}"
                width, room = await it.page.evaluate(
                    "[document.documentElement.scrollWidth, innerWidth]"
                )
                assert width <= room, f"{path}, {look}"


async def _violations(it: Tab, standards: list[str]) -> str:
    options = {"resultTypes": ["violations"], "runOnly": standards}
    found = await Axe().run(it.page, options=options)
    return "" if found.violations_count == 0 else str(found.generate_report())


async def test_everything_works_without_scripts(
    browser: Browser, scene: Scene, store: SqlStore
) -> None:
    """Sign in by the form, filter, look, discard; a link reloads what a script would refresh."""
    token = scene.console.sign_in.partition("token=")[2]
    async with tab(browser, scripts=False) as it:
        page = it.page
        await page.goto(f"{scene.console.address}/dead-letters")
        await page.get_by_role("link", name="Sign in").click()
        await page.get_by_label("Your name").fill("bo")
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_label("Runtime").fill("ada")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.get_by_role("row")).to_have_count(3)
        await expect(page.get_by_text("Live.")).to_have_count(0)
        await page.get_by_role("link", name="Reload").click()
        assert page.url.endswith("runtime=ada&since=")
        await page.get_by_role("link", name="expected str, got int").click()
        await page.get_by_role("row").filter(has_text="ada").get_by_role("link").click()
        await it.screenshot("without-scripts")
        await page.get_by_label("Why").fill("nobody needs it")
        await page.get_by_role("button", name="Discard").click()
        await expect(page.locator(".note[role=status]")).to_contain_text("Discarded.")
    assert (await _status(store, scene.wrong)) is DeadLetterStatus.DISCARDED


async def test_the_keyboard_is_enough_and_the_focus_is_always_seen(
    browser: Browser, scene: Scene, store: SqlStore
) -> None:
    async with tab(browser) as it:
        page = it.page
        await page.goto(scene.console.sign_in)
        await page.goto(f"{scene.console.address}/dead-letters/{scene.wrong.id}")
        await page.keyboard.press("Tab")
        assert await _focused(it) == "Skip to the content"
        await it.screenshot("skip-link")
        await page.keyboard.press("Enter")
        reached: list[str] = []
        while (name := await _next(it)) and len(reached) < 60:
            reached.append(name)
        for name in ("Pause", "Reload", "Dry run", "Redrive", "Edit…", "Discard"):
            assert name in reached
        await page.get_by_label("Why").focus()
        await page.keyboard.type("by hand")
        await page.keyboard.press("Enter")
        await expect(page.locator(".note[role=status]")).to_contain_text("Discarded.")
    assert (await _status(store, scene.wrong)) is DeadLetterStatus.DISCARDED


async def test_a_page_lives_keeps_the_focus_and_can_be_paused(
    browser: Browser, scene: Scene, store: SqlStore
) -> None:
    async with tab(browser) as it:
        page = it.page
        await page.goto(f"{scene.console.address}/dead-letters/list?runtime=ada")
        await expect(page.get_by_role("row")).to_have_count(3)
        await page.get_by_role("row").last.get_by_role("link").focus()
        await _arrive(store)
        await expect(page.get_by_role("row")).to_have_count(4)
        assert await page.evaluate("document.activeElement.closest('tr') !== null")
        await page.get_by_role("button", name="Pause").click()
        await _arrive(store)
        refreshed: list[str] = []
        page.on("request", lambda request: refreshed.append(request.url))
        await page.wait_for_timeout(2_500)  # longer than a page waits between two looks
        assert refreshed == []
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("row")).to_have_count(5)
        scene.console.process.terminate()
        await expect(page.get_by_text("No answer; trying again.")).to_be_visible()
        it.complaints[:] = [each for each in it.complaints if "ERR_CONNECTION" not in each]


async def _arrive(store: SqlStore) -> None:
    await store.commit([Commit(None, 0, dead_letters=(a_prompt("another"),))])


async def _status(store: SqlStore, letter: DeadLetter) -> DeadLetterStatus:
    found = await store.dead_letters.get(letter.id)
    assert found is not None
    return found[0].status


async def _focused(it: Tab) -> str:
    """Name what has the focus; it must be marked."""
    name, outline = await it.page.evaluate(
        """() => {
            const it = document.activeElement;
            if (it === document.body) return ["", "3px"];
            const style = getComputedStyle(it);
            const name = it.labels?.[0]?.textContent ?? it.ariaLabel ?? it.textContent;
            const width = style.outlineStyle === "none" ? "" : style.outlineWidth;
            return [name.trim() || it.tagName, width];
        }"""
    )
    assert outline == "3px", f"{name}: the focus is not seen"
    return str(name)


async def _next(it: Tab) -> str:
    await it.page.keyboard.press("Tab")
    return await _focused(it)
