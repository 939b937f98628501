// What every page does: ages that count on, and requests that change something.
const csrf = document.querySelector('meta[name="csrf"]').content;
const notice = document.getElementById("notice");
// Ages are those of the controller's clock; this machine's may differ.
let ahead_s = 0;

export function setClock(now_s) { ahead_s = Date.now() / 1000 - now_s; }

export function say(text, bad = false) {
  notice.textContent = text;
  notice.classList.toggle("bad", bad);
  notice.hidden = !text;
}

export function ageWords(asked_s) {
  const age = Math.max(0, Date.now() / 1000 - ahead_s - asked_s);
  if (age < 60) return `${Math.floor(age)} s ago`;
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86400) return `${Math.floor(age / 3600)} h ago`;
  return `${Math.floor(age / 86400)} d ago`;
}

export function showAges() {
  for (const cell of document.querySelectorAll(".age")) {
    const text = cell.dataset.asked ? ageWords(Number(cell.dataset.asked)) : "–";
    if (cell.textContent !== text) cell.textContent = text;
  }
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

export async function ask(address, options = {}) {
  const answer = await fetch(address, { ...options, headers: { accept: "application/json", ...options.headers } });
  if (answer.status === 401) { window.location.assign(`/login?next=${encodeURIComponent(window.location.pathname)}`); }
  const tree = await answer.json();
  if (!answer.ok) throw new Error(`${tree.error.message} ${tree.error.next_step}`.trim());
  return tree;
}

export function change(method, address) {
  return ask(address, { method, headers: { "x-edgeloop-csrf": csrf } });
}

export function changeWith(method, address, tree) {
  const headers = { "x-edgeloop-csrf": csrf, "content-type": "application/json" };
  return ask(address, { method, headers, body: JSON.stringify(tree) });
}

// Asks again and again while the page is seen; each question waits at the controller for something new.
export async function follow(question, show) {
  let wait_ms = 0, failing = false;
  for (;;) {
    if (document.hidden) {
      await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
      continue;
    }
    try {
      show(await question());
      if (failing) say("");
      failing = false;
      wait_ms = 250;
    } catch (error) {
      failing = true;
      wait_ms = Math.min(10000, wait_ms * 2 || 500);
      say(`The controller does not answer: ${error.message}`, true);
    }
    await new Promise((done) => setTimeout(done, wait_ms));
  }
}

for (const button of document.querySelectorAll("[data-verb]")) {
  button.addEventListener("click", async () => {
    const rollout = button.closest("[data-rollout]").dataset.rollout;
    if (!window.confirm(`${button.textContent}: ${rollout}?`)) return;
    for (const other of button.parentElement.children) other.disabled = true;
    try {
      await change("POST", `/api/v1/rollouts/${encodeURIComponent(rollout)}/${button.dataset.verb}`);
      window.location.reload();
    } catch (error) {
      say(error.message, true);
      for (const other of button.parentElement.children) other.disabled = false;
    }
  });
}

for (const form of document.querySelectorAll("form.tag")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const tag = encodeURIComponent(form.elements.tag.value);
    try {
      await change("PUT", `/api/v1/tags/${tag}?artifact=${form.dataset.artifact}`);
      window.location.reload();
    } catch (error) { say(error.message, true); }
  });
}

if (document.querySelector(".age")) setInterval(showAges, 1000);
