"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  function resolve(value, style) {
    if (typeof value === "string" && value.startsWith("var:")) {
      return style.getPropertyValue("--" + value.slice(4)).trim();
    }
    if (Array.isArray(value)) return value.map((item) => resolve(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, style)]));
    }
    return value;
  }

  function layout(spec, style) {
    const axis = {
      gridcolor: "var:grid", zerolinecolor: "var:grid", linecolor: "var:grid", automargin: true,
      title: { standoff: 12 },
    };
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      margin: { l: 56, r: 16, t: 12, b: 48 }, hovermode: "closest",
      font: { family: "system-ui, sans-serif", size: 13, color: "var:text" },
      hoverlabel: { bgcolor: "var:panel", bordercolor: "var:line", font: { color: "var:text" } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var:quiet", activecolor: "var:accent" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    };
    const own = { ...spec.layout };
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(own).filter((key) => /^[xy]axis\d*$/.test(key))])) {
      own[name] = { ...axis, ...own[name], title: { ...axis.title, ...(own[name] || {}).title } };
    }
    return resolve({ ...base, ...own }, style);
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const source of document.querySelectorAll("script[data-chart]")) {
      const spec = JSON.parse(source.textContent);
      const options = {
        displaylogo: false, responsive: true, displayModeBar: "hover",
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
      };
      if (still.matches) options.scrollZoom = false;
      Plotly.react(source.dataset.chart, resolve(spec.data, style), layout(spec, style), options);
    }
  }

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((item) => { item.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((item) => { item.open = false; }));
  dark.addEventListener("change", draw);
  draw();
})();
