import { ask, change, element, say, showAges } from "./common.js";
import { NONE } from "./format.js";

const table = document.getElementById("queue");
const body = table.tBodies[0];
const mayChange = table.dataset.mayChange === "yes";
const OPEN = new Set(["queued", "running", "interrupted"]);
const TONES = { done: "good", failed: "bad", running: "open", interrupted: "open" };
let shown = "";

function rowOf(row) {
  const short = row.queue_id.slice(0, 12);
  const remark = row.doing || row.reason;
  const cells = [
    element("th", { scope: "row" }, element("code", {}, short)),
    element("td", {}, element("span", { class: `state ${TONES[row.state] || "quiet"}` }, row.state),
      remark ? element("small", {}, remark) : ""),
    element("td", {}, String(row.priority)),
    element("td", {}, row.model),
    element("td", {}, row.data || NONE),
    element("td", {}, row.on.join(", ")),
    element("td", {}, row.submitted_by),
    element("td", { class: "age", "data-asked": row.ended_wall_s || row.started_wall_s || row.created_wall_s }),
    element("td", {}, row.state === "done"
      ? element("a", { href: `/experiments/${encodeURIComponent(row.experiment_id)}` }, row.experiment_id.slice(0, 12)) : NONE),
  ];
  if (mayChange) {
    cells.push(element("td", {}, OPEN.has(row.state)
      ? element("button", { type: "button", class: "danger", "aria-label": `Call off ${short}` }, "Call off") : ""));
  }
  return element("tr", { "data-id": row.queue_id }, ...cells);
}

function show(rows) {
  const text = JSON.stringify(rows);
  if (text === shown || !rows.length) return;
  shown = text;
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const kept = focused && { id: focused.closest("tr").dataset.id, name: focused.tagName };
  body.replaceChildren(...rows.map(rowOf));
  showAges();
  if (kept) {
    const row = [...body.rows].find((one) => one.dataset.id === kept.id);
    const again = row && (row.querySelector(kept.name) || row.querySelector("a"));
    if (again) again.focus({ preventScroll: true });
  }
}

async function look() { show(await ask("/api/v1/queue")); }

body.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const id = button.closest("tr").dataset.id;
  if (!window.confirm(`Call off ${id.slice(0, 12)}? Its devices are given back.`)) return;
  button.disabled = true;
  try {
    await change("DELETE", `/api/v1/queue/${id}`);
    say(`${id.slice(0, 12)} is called off.`);
  } catch (error) { say(error.message, true); }
  button.disabled = false;
  look().catch(() => {});
});

setInterval(() => { if (!document.hidden) look().catch((error) => say(error.message, true)); }, 2000);
showAges();
