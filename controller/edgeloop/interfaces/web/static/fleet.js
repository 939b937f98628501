import { ask, element, follow, setClock, showAges } from "./common.js";
import { NONE, bytes, fixed, tone } from "./format.js";

const table = document.getElementById("devices");
const body = table.tBodies[0];
const words = new URLSearchParams(window.location.search);
const query = new URLSearchParams({ size: table.dataset.size, page: table.dataset.page });
for (const name of ["q", "group", "state", "sort"]) if (words.get(name)) query.set(name, words.get(name));
let sequence = Number(table.dataset.sequence);
setClock(Number(table.dataset.now));

function cell(text, small = "", kind = "") {
  return element("td", {}, text, small ? element("small", kind ? { class: kind } : {}, small) : "");
}

function rowOf(device) {
  const link = element("a", { href: `/devices/${encodeURIComponent(device.name)}` }, device.shown);
  const name = element("th", { scope: "row" }, link);
  if (device.simulated) name.append(" ", element("span", { class: "badge simulated" }, "simulated"));
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`).join(", ");
  const state = element("span", { class: `state ${tone(device.state)}` }, device.state);
  return element("tr", { "data-name": device.name },
    name,
    cell(state, device.remark),
    cell(device.board, device.architecture),
    cell(device.groups.join(", "), labels),
    cell(fixed(device.temperature_celsius, 1, " °C"), device.throttled.join(", "), "bad"),
    cell(fixed(device.load_average_1min, 2)),
    cell(bytes(device.available_memory_bytes)),
    cell(device.job || NONE, device.queue_count ? `${device.queue_count} wait` : ""),
    element("td", { class: "age", "data-asked": device.asked_s || "" }));
}

function show(page) {
  sequence = page.sequence;
  setClock(page.now_s);
  const focused = document.activeElement && body.contains(document.activeElement)
    ? document.activeElement.closest("tr").dataset.name : null;
  if (page.devices.length) body.replaceChildren(...page.devices.map(rowOf));
  showAges();
  if (focused !== null) {
    const row = [...body.rows].find((one) => one.dataset.name === focused);
    if (row) row.querySelector("a").focus({ preventScroll: true });
  }
  let all = 0;
  for (const count of Object.values(page.state_counts)) all += count;
  for (const shown of document.querySelectorAll("[data-count]")) {
    shown.textContent = shown.dataset.count === "all" ? all : page.state_counts[shown.dataset.count] || 0;
  }
  document.getElementById("total-count").textContent = page.total_count;
  document.getElementById("fresh").textContent =
    page.inventory_problem ? `The inventory cannot be read: ${page.inventory_problem}` : "";
}

showAges();
follow(() => ask(`/api/v1/devices?${query}&after=${sequence}&wait_s=5`), show);
