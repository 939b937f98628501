// Drives headless Chromium for scripts/bench/dashboard: one JSON command a line on standard input, one answer a line.
// Usage: node browser.mjs TOOLS BASE_URL   (TOOLS: a directory with node_modules/playwright-core and axe-core)
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [tools, base] = process.argv.slice(2);
const require = createRequire(`${tools}/`);
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const wrong = [];
let accepting = false;
let context, page;

async function fresh(options = {}) {
  const kept = context ? await context.storageState() : undefined;
  if (context) await context.close();
  context = await browser.newContext({
    viewport: { width: 1380, height: 860 }, storageState: kept, bypassCSP: false, ...options,
  });
  page = await context.newPage();
  page.on("console", (message) => { if (message.type() === "error") wrong.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => wrong.push(`page: ${error.message}`));
  page.on("dialog", (dialog) => {
    if (accepting) { dialog.accept(); return; }
    wrong.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) {
      wrong.push(`elsewhere: ${request.url()}`);
    }
  });
}

const commands = {
  async fresh({ dark = false }) { await fresh({ colorScheme: dark ? "dark" : "light" }); return {}; },
  async open({ path, until = "body" }) {
    const begun = performance.now();
    await page.goto(base + path, { waitUntil: "domcontentloaded" });
    await page.waitForSelector(until, { state: "visible" });
    const seen_ms = performance.now() - begun;
    const paint_ms = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(() =>
      done(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null), 50))));
    return { seen_ms, paint_ms, url: page.url() };
  },
  async until({ selector, text, timeout_ms = 20000 }) {
    const ends = Date.now() + timeout_ms;
    while (Date.now() < ends) {
      const there = await page.evaluate(([where, wanted]) => {
        const found = document.querySelector(where);
        return found !== null && found.textContent.includes(wanted);
      }, [selector, text]).catch(() => false);  // a page that is just being left
      if (there) return { at_s: Date.now() / 1000 };
      await new Promise((done) => setTimeout(done, 20));
    }
    throw new Error(`${selector} never had ${text}`);
  },
  async text({ selector }) { return { text: await page.locator(selector).first().textContent() }; },
  async count({ selector }) { return { count: await page.locator(selector).count() }; },
  async evaluate({ code }) { return { value: await page.evaluate(code) }; },
  async press({ key, times = 1 }) { for (let i = 0; i < times; i += 1) await page.keyboard.press(key); return {}; },
  async confirm({ selector }) {
    accepting = true;
    await page.click(selector);
    await page.waitForLoadState("load");
    accepting = false;
    return {};
  },
  async focused() {
    return { text: await page.evaluate(() => document.activeElement.textContent.trim().slice(0, 60)) };
  },
  async settle({ ms }) { await page.waitForTimeout(ms); return {}; },
  async screenshot({ file }) { await page.screenshot({ path: file }); return {}; },
  async axe() {
    // Through the debugger and not as a script of the page, whose policy admits none from elsewhere.
    await page.evaluate(axeSource);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return { violations: found.violations.map((one) => ({
      id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)),
    })) };
  },
  async wrong() { return { wrong: wrong.splice(0) }; },
};

await fresh();
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...words } = JSON.parse(line);
  try {
    console.log(JSON.stringify(await commands[command](words)));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message || error).slice(0, 1000) }));
  }
}
await browser.close();
