// Single-key shortcuts: never inside a field, never with Ctrl or Alt, and not at all when switched off.
import { walk } from "./slots.js";
import { copy } from "./small.js";

let prefix = "";

function rows() {
  return [...document.querySelectorAll("[data-rows] [data-open], [data-lanes] [data-open]")];
}

function step(by) {
  const links = rows();
  const active = document.activeElement;
  // From a slot of a row's strip to the rows beside it.
  const at = links.findIndex((link) => link === active || link.closest("[data-rows] > *, .lane")?.contains(active));
  const next = links[Math.max(0, at + by)] ?? links.at(-1);
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function follow(selector) {
  document.querySelector(selector)?.click();
}

function nextZone() {
  const form = document.querySelector("[data-preferences]");
  const select = form?.querySelector("[data-zones]");
  if (!select) return;
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  form.requestSubmit();
}

function frozen() {
  const { from, to, zone } = document.querySelector("[data-frozen]")?.dataset ?? {};
  const address = new URL(location.href);
  if (from) address.searchParams.set("from", from);
  if (to) address.searchParams.set("to", to);
  if (zone) address.searchParams.set("tz", zone);
  const { at } = document.getElementById("main").dataset;
  if (at) address.searchParams.set("at", at);
  return address.href;
}

function lookBack() {
  const menu = document.querySelector("[data-moment]");
  if (!menu) return;
  menu.open = true;
  menu.querySelector("input[name=at]").focus();
}

const actions = {
  "?": () => document.getElementById("keys").showModal(),
  "/": () => document.getElementById("q")?.focus(),
  j: () => step(1),
  k: () => step(-1),
  h: () => walk(-1),
  l: () => walk(1),
  "[": () => follow("a[rel=prev]"),
  "]": () => follow("a[rel=next]"),
  ".": () => follow("[data-live]"),
  u: nextZone,
  y: () => copy(frozen()),
  a: lookBack,
};

function pressed(event) {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("[data-menu][open]")) menu.open = false;
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (isTyping || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const action = prefix === "g" ? () => follow(`[data-go="${CSS.escape(event.key)}"]`) : actions[event.key];
  prefix = prefix === "" && event.key === "g" ? "g" : "";
  if (prefix === "" && action) {
    event.preventDefault();
    action();
  }
}

export function keys() {
  if (document.documentElement.dataset.keys !== "off") document.addEventListener("keydown", pressed);
}
