export const NONE = "–";

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0, left = value;
  while (left >= 1000 && at < units.length - 1) { left /= 1000; at += 1; }
  return `${left.toPrecision(3)} ${units[at]}`;
}

export function fixed(value, digits, unit = "") {
  return value === null || value === undefined ? NONE : `${value.toFixed(digits)}${unit}`;
}

// Text of devices: nothing in it may change direction or hide.
export function plain(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);
}

const TONES = { free: "good", held: "open", away: "bad" };
export function tone(state) { return TONES[state] || "quiet"; }
