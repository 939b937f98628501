import { changeWith, element, say } from "./common.js";
import { plain } from "./format.js";

const form = document.getElementById("start-rollout");
const waves = document.getElementById("waves");

function planOf(fields) {
  const share = Number(fields.get("share")) / 100;
  return {
    release: fields.get("release"),
    on: [fields.get("on")],
    waves: [
      { name: "canary", count: Number(fields.get("canaries")) },
      ...(share > 0 ? [{ name: "share", share }] : []),
      { name: "rest", rest: true, approve: fields.get("approve") === "yes", error_share_max: 0.05, success_share_min: 0.95 },
    ],
  };
}

function wavesOf(rollout) {
  return element("ol", {}, ...rollout.plan.waves.map((wave, at) => {
    const names = rollout.devices.filter((device) => device.wave === at).map((device) => plain(device.spec.name));
    const more = names.length > 20 ? ` and ${names.length - 20} more` : "";
    return element("li", {}, `${plain(wave.name)}: ${names.slice(0, 20).join(", ") || "no device"}${more}`);
  }));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const start = event.submitter && event.submitter.value === "start";
  const plan = planOf(new FormData(form));
  if (start && !window.confirm(`Start the rollout of ${plan.release} to ${plan.on[0]}?`)) return;
  say("");
  try {
    const rollout = await changeWith("POST", "/api/v1/rollouts", { plan, dry_run: !start });
    if (start) window.location.assign(`/rollouts/${encodeURIComponent(rollout.rollout_id)}`);
    else waves.replaceChildren(wavesOf(rollout));
  } catch (error) { say(error.message, true); }
});
