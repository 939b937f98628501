import { say } from "./common.js";

async function enter(token) {
  const answer = await fetch("/api/v1/session", { method: "POST", headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) { say((await answer.json()).error.message, true); return; }
  const next = new URLSearchParams(window.location.search).get("next") || "/";
  // Only a path of our own: "//elsewhere" would be another site.
  window.location.replace(/^\/(?![\/\\])/.test(next) ? next : "/");
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(event.target.elements.token.value.trim());
});

const given = new URLSearchParams(window.location.hash.slice(1)).get("token");
if (given) {
  // Not left in the history.
  history.replaceState(null, "", window.location.pathname + window.location.search);
  enter(given);
}
