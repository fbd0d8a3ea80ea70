// Small comforts: copying, menus that close, the browser's zone among the choices, arrow keys in a chart.

export function say(text) {
  document.getElementById("said").textContent = text;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard; the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "vh";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
}

function showCopyButtons(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}

function addBrowserZone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const select of document.querySelectorAll("[data-zones]")) {
    if (own && ![...select.options].some((option) => option.value === own)) select.add(new Option(`${own} (this browser)`, own));
  }
}

function arrows(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const chart = event.target.closest?.("[data-bars]");
  if (!step || !chart) return;
  const bars = [...chart.querySelectorAll("a")];
  const next = bars[bars.indexOf(event.target.closest("a")) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

export function small() {
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  showCopyButtons(document);
  addBrowserZone();
  for (const chart of document.querySelectorAll("[data-bars]")) chart.querySelector("a")?.setAttribute("tabindex", "0");
  document.addEventListener("keydown", arrows);
  document.addEventListener("taskledger:swapped", (event) => showCopyButtons(event.target));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button.dataset.copy);
    for (const menu of document.querySelectorAll("[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}
