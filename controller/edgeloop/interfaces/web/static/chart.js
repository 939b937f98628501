// A small line over time, drawn as SVG: few points, one quantity, no library.
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 110, LEFT = 62, BOTTOM = 18, TOP = 8;

function svg(name, attributes, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function span(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// points: [seconds, value or null]; returns an <svg> whose label tells the last value.
export function lineChart(points, title, format) {
  const known = points.filter(([, value]) => value !== null && value !== undefined);
  const last = known.length ? format(known[known.length - 1][1]) : "not told";
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${last}` });
  if (!known.length) return chart;
  const values = known.map(([, value]) => value);
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 1e-9) { const pad = Math.abs(high) * 0.05 || 1; low -= pad; high += pad; }
  const from = points[0][0], to = Math.max(points[points.length - 1][0], from + 1);
  const x = (at) => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - 4);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  for (const level of [low, (low + high) / 2, high]) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(level), y2: y(level) }));
    chart.append(svg("text", { x: LEFT - 5, y: y(level) + 4, "text-anchor": "end" }, format(level)));
  }
  chart.append(svg("text", { x: LEFT, y: HEIGHT - 3 }, `${span(to - from)} ago`));
  chart.append(svg("text", { x: WIDTH - 4, y: HEIGHT - 3, "text-anchor": "end" }, "now"));
  // A gap is a gap: where the device told nothing, no line is drawn.
  let path = "", pen = false;
  for (const [at, value] of points) {
    if (value === null || value === undefined) { pen = false; continue; }
    path += `${pen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  }
  chart.append(svg("path", { class: "line", d: path }));
  return chart;
}
