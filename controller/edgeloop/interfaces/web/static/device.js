import { ask, element, follow, say, setClock, showAges } from "./common.js";
import { lineChart } from "./chart.js";
import { NONE, bytes, fixed, plain, tone } from "./format.js";

const live = document.getElementById("live");
const charts = document.getElementById("charts");
const address = `/api/v1/devices/${encodeURIComponent(live.dataset.device)}`;
let sequence = Number(live.dataset.sequence);

const QUANTITIES = [
  ["temperature_celsius", "Heat", (value) => fixed(value, 1, " °C")],
  ["load_average_1min", "Load", (value) => fixed(value, 2)],
  ["available_memory_bytes", "Memory free", bytes],
  ["frequency_hz", "Clock", (value) => fixed(value / 1e6, 0, " MHz")],
  ["power_w", "Power", (value) => fixed(value, 2, " W")],
];

function drawCharts(moments) {
  const figures = [];
  for (const [key, title, format] of QUANTITIES) {
    const points = moments.map((moment) => [moment.at_s, moment[key]]);
    const known = points.filter(([, value]) => value !== null);
    if (!known.length) continue;
    figures.push(element("figure", {},
      element("figcaption", {}, element("span", {}, title), element("b", {}, format(known[known.length - 1][1]))),
      lineChart(points, title, format)));
  }
  charts.replaceChildren(...figures);
}

function show([history, detail]) {
  sequence = history.sequence;
  setClock(history.now_s);
  drawCharts(history.moments);
  const device = detail.device;
  document.getElementById("state").replaceChildren(
    element("span", { class: `state ${tone(device.state)}` }, device.state));
  document.getElementById("remark").textContent = device.remark;
  document.getElementById("seen").dataset.asked = device.asked_s || "";
  const readings = detail.vitals ? detail.vitals.readings || [] : [];
  if (readings.length) {
    document.getElementById("readings").tBodies[0].replaceChildren(...readings.map((reading) => element("tr", {},
      element("th", { scope: "row" }, plain(reading.name)),
      element("td", {}, reading.value === null || reading.value === undefined
        ? NONE : `${Number(reading.value.toPrecision(5))} ${plain(reading.unit)}`),
      element("td", {}, plain(reading.reason || "")))));
  }
  const leases = detail.leases.map((lease) => element("p", {}, lease.state === "granted"
    ? `has it${lease.shared ? " with others" : ""}: ${lease.holder}` : `waits, place ${lease.queue_position}, priority ${lease.priority}: ${lease.holder}`));
  document.getElementById("leases").replaceChildren(
    ...(leases.length ? leases : [element("p", { class: "quiet" }, "Nobody has it and nobody waits.")]));
  showAges();
}

const UNITS = {
  ratio: (value) => fixed(100 * value, 0, " %"), B: bytes, celsius: (value) => fixed(value, 1, " °C"),
  Hz: (value) => fixed(value / 1e6, 0, " MHz"), W: (value) => fixed(value, 2, " W"),
  "B/s": (value) => `${bytes(value)}/s`, count: (value) => fixed(value, 2), "1/s": (value) => fixed(value, 2, "/s"),
  s: (value) => fixed(1000 * value, 2, " ms"),
};
const chosen = document.getElementById("window");

async function drawPast() {
  const since_s = Number(chosen.value);
  const found = await ask(`${address}/series?since_s=${since_s}&steps=120`);
  if (!found.length) {
    document.getElementById("past").replaceChildren(element("p", { class: "quiet" },
      "Nothing was collected in this window. Boards of a simulated fleet take no samples."));
    return;
  }
  document.getElementById("past").replaceChildren(...found.map((series) => {
    const points = [];
    series.points.forEach((point, at) => {
      // A step that is missing is a gap.
      if (at && point.start_s - series.points[at - 1].start_s > 1.5 * series.step_s) points.push([point.start_s, null]);
      points.push([point.start_s, point.mean]);
    });
    const title = `${series.model ? `${plain(series.model)}: ` : ""}${series.quantity.replace(/_(s|w|hz|bytes|celsius)$/, "").replaceAll("_", " ")}`;
    const format = UNITS[series.unit] || String;
    return element("figure", {},
      element("figcaption", {}, element("span", {}, title), element("b", {}, format(series.points.at(-1).mean))),
      lineChart(points, title, format));
  }));
}

function past() { drawPast().catch((error) => say(error.message, true)); }
chosen.addEventListener("change", past);
setInterval(() => { if (!document.hidden) past(); }, 30000);
past();

async function question() {
  const history = await ask(`${address}/history?after=${sequence}&wait_s=5`);
  return [history, await ask(address)];
}

showAges();
ask(`${address}/history`).then((history) => drawCharts(history.moments)).catch(() => {});
follow(question, show);
