// Live: fetch this same address again and take over what changed. Rows on the page are updated where they stand and
// never move; new ones wait behind "N newer, show" until somebody asks for them.
import { say } from "./small.js";

const EVERY_MS = 3000;
let tag = "";
let fetched = null;

function isResting() {
  const rows = document.querySelector("[data-rows]");
  const isSelecting = (document.getSelection()?.toString() ?? "") !== "";
  return document.hidden || isSelecting || Boolean(rows?.contains(document.activeElement)) || Boolean(document.querySelector("[data-menu][open]"));
}

async function read(address, headers = {}) {
  const response = await fetch(address, { headers, cache: "no-store", credentials: "same-origin" });
  if (response.status === 304 || !response.ok) return null;
  return { page: new DOMParser().parseFromString(await response.text(), "text/html"), tag: response.headers.get("ETag") ?? "" };
}

function swap(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML || old.matches(":hover, :focus-within") || old.querySelector("details[open]")) return;
  old.innerHTML = fresh.innerHTML;
  old.dispatchEvent(new CustomEvent("taskledger:swapped", { bubbles: true }));
}

function keyed(root) {
  return new Map([...root.querySelectorAll("[data-rows] > [data-key]")].map((row) => [row.dataset.key, row]));
}

function update(fresh) {
  const rows = keyed(fresh);
  for (const [key, row] of keyed(document)) {
    const now = rows.get(key);
    if (now && row.innerHTML !== now.innerHTML) row.innerHTML = now.innerHTML;
  }
}

// The rows on the page may have left the first page by now: ask for the list as it begins at the top one.
async function updateOlder(page) {
  const shown = [...keyed(document).values()];
  const newest = keyed(page);
  const top = Number(shown[0]?.dataset.at);
  if (!top || shown.every((row) => newest.has(row.dataset.key))) return;
  const address = new URL(location.href);
  address.searchParams.set("to", new Date(Math.floor(top / 1000) + 1).toISOString());
  const older = await read(address);
  if (older) update(older.page);
}

function offer(page) {
  const shown = keyed(document);
  const rows = [...keyed(page).keys()];
  const number = rows.filter((key) => !shown.has(key)).length;
  const pill = document.querySelector("[data-newer]");
  if (!pill) return;
  pill.hidden = number === 0;
  pill.firstElementChild.textContent = `${number}${number === rows.length ? " or more" : ""} newer, show`;
}

async function turn() {
  if (isResting()) return;
  const answer = await read(location.href, tag ? { "If-None-Match": tag } : {});
  if (!answer) return;
  ({ tag } = answer);
  fetched = answer.page;
  // The first event has arrived: this is another page now.
  if (document.querySelector("[data-live-always]") && !fetched.querySelector("[data-live-always]")) location.reload();
  for (const old of document.querySelectorAll("[data-region]")) {
    const fresh = fetched.querySelector(`[data-region="${old.dataset.region}"]`);
    if (!old.querySelector("[data-rows]") && !fresh?.querySelector("[data-rows]")) swap(old, fresh);
  }
  update(fetched);
  await updateOlder(fetched);
  offer(fetched);
}

function show() {
  const fresh = fetched?.querySelector("[data-rows]");
  const old = document.querySelector("[data-rows]");
  if (!fresh || !old) return;
  old.replaceWith(document.adoptNode(fresh));
  document.querySelector("[data-newer]").hidden = true;
  say("List brought up to date");
}

async function run(isOn) {
  for (;;) {
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
    if (isOn()) await turn().catch(() => say("The site does not answer; trying again"));
  }
}

export function live() {
  const button = document.querySelector("[data-live]");
  const always = document.querySelector("[data-live-always]");
  let on = Boolean(always) || new URLSearchParams(location.search).has("live");
  if (!button && !always) return;
  if (button) {
    button.hidden = false;
    button.setAttribute("aria-pressed", String(on));
    button.addEventListener("click", () => {
      on = !on;
      button.setAttribute("aria-pressed", String(on));
      const address = new URL(location.href);
      if (on) address.searchParams.set("live", "1");
      else address.searchParams.delete("live");
      history.replaceState(null, "", address);
      say(on ? "Live: new rows wait until you ask for them" : "Live is off");
    });
  }
  document.querySelector("[data-newer] button")?.addEventListener("click", show);
  run(() => on);
}
