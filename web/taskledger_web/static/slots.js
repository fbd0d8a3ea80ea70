// h and l walk along a strip: the slot is focused, its words are shown beside it and read out; Enter opens its task.
import { say } from "./small.js";

const PENDING = 'use[href="#k-pending"]';
let tip = null;

// The strip of the row that has the focus, else the first of the page.
function strip() {
  const active = document.activeElement;
  return active?.closest("[data-slots]") ?? active?.closest("tr, .lane")?.querySelector("[data-slots]") ?? document.querySelector("[data-slots]");
}

function hide() {
  tip?.remove();
  tip = null;
}

// Inside the window, under the slot.
function show(slot, words) {
  hide();
  tip = document.createElement("p");
  tip.className = "tip";
  tip.setAttribute("aria-hidden", "true");
  tip.textContent = words;
  document.body.append(tip);
  const box = slot.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8));
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${box.bottom + 6 + scrollY}px`;
  slot.addEventListener("blur", hide, { once: true });
}

// What has not happened yet is walked to, not begun with.
function newest(slots) {
  const past = slots.findLastIndex((slot) => !(slot.matches(PENDING) || slot.querySelector(PENDING)));
  return past < 0 ? slots.length - 1 : past;
}

// By one to the newer or the older side; the first step goes to the newest that was due.
export function walk(by) {
  const slots = [...(strip()?.children ?? [])].filter((child) => child.querySelector("title"));
  if (!slots.length) return;
  const at = slots.findIndex((slot) => slot.contains(document.activeElement));
  const next = slots[at < 0 ? newest(slots) : Math.max(0, Math.min(at + by, slots.length - 1))];
  const words = next.querySelector("title")?.textContent ?? "";
  if (!next.hasAttribute("tabindex")) next.setAttribute("tabindex", "-1");
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  show(next, words);
  say(words);
}
