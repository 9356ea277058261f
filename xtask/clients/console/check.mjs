// Looks at the console of a loaded gateway in Chromium, as a stranger would: is there data in every section, does anything complain, do commands
// ask first and work, can it be used by keys and on a phone, does it say when the gateway does not answer.
//
//   node check.mjs --url http://127.0.0.1:8081 --model NAME --chromium PATH [--screenshots FOLDER] [--json FILE]
//
// Exit code 1 if a check fails. The gateway is to be under load, with a change of it and a new plan in its past.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options } = parseArgs({
  options: { url: { type: "string" }, model: { type: "string" }, chromium: { type: "string" }, screenshots: { type: "string" }, json: { type: "string" } },
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 380, height: 800 };
const PATIENCE_MS = 30_000;
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

const failures = [];
const complaints = [];
const changes = [];
const figures = { checks: 0 };

function check(name, holds, details = "") {
  figures.checks += 1;
  if (!holds) failures.push(`${name}${details ? `: ${details}` : ""}`);
  console.log(`${holds ? "ok  " : "FAIL"}  ${name}${holds || !details ? "" : `: ${details}`}`);
}

async function shot(page, name) {
  if (!options.screenshots) return;
  mkdirSync(options.screenshots, { recursive: true });
  await page.screenshot({ path: join(options.screenshots, `${name}.png`), fullPage: !name.startsWith("dialog") });
}

async function open(browser, viewport, colorScheme) {
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce", bypassCSP: false });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.stack ?? error.message));
  page.on("request", (request) => {
    if (request.method() !== "GET") changes.push(`${request.method()} ${new URL(request.url()).pathname}`);
    if (!request.url().startsWith(options.url)) complaints.push(`a request to ${request.url()}`);
  });
  await page.goto(`${options.url}/`);
  await page.waitForSelector("#models a");
  await page.click(`#models a:has(strong:text-is("${options.model}"))`);
  await page.waitForFunction((model) => document.getElementById("model-name").textContent === model, options.model);
  await page.waitForSelector("#surface .heat rect");
  await page.waitForSelector("#jobs tbody tr");
  return { context, page };
}

/** What stands in the sections, as far as the checks ask for it. */
const look = (page) => page.evaluate(() => {
  const all = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());
  const texts = (selector) => all(selector).map((element) => element.textContent);
  return {
    url: location.pathname,
    sections: all("main section").map((section) => ({ id: section.id, heading: section.querySelector("h3").textContent, isEmpty: [...section.querySelectorAll(".empty")].some((it) => it.checkVisibility()) })),
    values: Object.fromEntries(all("main section").map((section) => [section.id, [...section.querySelectorAll(".tile .value")].map((value) => value.textContent)])),
    paths: Object.fromEntries(all("main section").map((section) => [section.id, [...section.querySelectorAll("path.line")].filter((path) => path.checkVisibility()).map((path) => path.getAttribute("d").length)])),
    changeMarks: all("#load .plot .mark-head.up, #load .plot .mark-head.down").length,
    changeRows: texts("#load tbody tr"),
    planMarks: all("#cost .plot .mark-head.plan").length,
    reasons: texts("#decisions li").filter((text) => text.includes("because the load changed")).length,
    sentence: texts("#plan .sentence")[0],
    choice: texts("#plan tbody tr"),
    decisions: texts("#decisions li"),
    bars: all("#batches .bar").length,
    measured: all("#surface .plot .measured").length,
    outlines: all("#surface .plot .outline").length,
    cells: all("#surface .plot rect").length,
    jobs: texts("#jobs tbody tr"),
    errors: texts("#health tbody tr"),
    connection: document.getElementById("connection").textContent,
  };
});

async function sections(page) {
  const seen = await look(page);
  check("the root of the admin listener leads to the console", seen.url === "/console", seen.url);
  check("it says that it is connected", seen.connection === "connected", seen.connection);
  const ids = seen.sections.map((section) => section.id);
  check("there are nine sections", ids.join() === "load,plan,cost,latency,health,surface,batches,decisions,jobs", ids.join());
  for (const id of ["load", "plan", "cost", "latency", "health"]) {
    check(`${id}: figures and lines`, seen.values[id].filter((value) => value !== "–").length >= Math.min(3, seen.values[id].length) && seen.paths[id].some((length) => length > 20), JSON.stringify([seen.values[id], seen.paths[id]]));
  }
  check("load: the change of the load is marked", seen.changeMarks >= 1 && seen.changeRows.some((row) => row.includes("▲ up")), `${seen.changeMarks} ${seen.changeRows}`);
  check("plan: a sentence and why, in numbers", /batch holds up to \d+ items?.*MiB/.test(seen.sentence) && seen.choice.some((row) => row.includes("$")), seen.sentence);
  check("plan: new plans are marked in other plots", seen.planMarks >= 1, `${seen.planMarks}`);
  check("cost: saving by formula and as measured", seen.values.cost.every((value) => value !== "–"), JSON.stringify(seen.values.cost));
  check("surface: cells, measured points, the plan", seen.cells >= 20 && seen.measured >= 1 && seen.outlines >= 1, `${seen.cells} ${seen.measured} ${seen.outlines}`);
  check("batches: bars", seen.bars >= 5, `${seen.bars}`);
  check("decisions: the change and the new plan", seen.decisions.some((text) => text.includes("load changed")) && seen.decisions.some((text) => text.includes("new plan")), seen.decisions.slice(0, 5).join("|"));
  check("jobs: at least one with its cost", seen.jobs.some((row) => /\$\d/.test(row)), seen.jobs.join("|"));
  Object.assign(figures, { plans_because_the_load_changed: seen.reasons, new_plans_shown: seen.planMarks, sections_with_data: seen.sections.filter((section) => section.id === "health" || !section.isEmpty).length, change_points_shown: seen.changeRows.length, decisions_shown: seen.decisions.length, batches_drawn: seen.bars });
  return seen;
}

/** A page opened now shows the past: its first point is older than the page. */
async function past(page) {
  await page.check('input[name="span"][value="900"]', { force: true });
  await page.locator("#load details summary").first().click();
  await page.waitForSelector("#load details[open] tbody tr");
  const times = await page.locator("#load details[open] tbody th").allTextContents();
  const seconds = times.map((time) => time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0));
  const span = (seconds[0] - seconds.at(-1) + 86_400) % 86_400;
  check("a page that was opened now shows minutes of the past", span >= 60, `${span} s`);
  figures.past_shown_s = span;
  await page.locator("#load details summary").first().click();
  await page.check('input[name="span"][value="300"]', { force: true });
}

/** Plots answer to keys. */
async function keys(page) {
  await page.focus("#surface .heat");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  const cell = await page.textContent("#surface .readout");
  check("the surface gives a cell's figures by keys", /items? on .*MiB.*service time.*objective/.test(cell), cell);
  await page.focus("#batches .timeline");
  await page.keyboard.press("ArrowLeft");
  const batch = await page.textContent("#batches .readout");
  check("the timeline gives a batch's figures by keys", /closed because .*billed.*\$/.test(batch), batch);
  await page.focus("#latency .plot");
  await page.keyboard.press("ArrowLeft");
  const latency = await page.textContent("#latency .readout");
  check("a plot gives the figures of a time by keys", /^\d\d:\d\d:\d\d · p50 .*p99/.test(latency), latency);
  const isRinged = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none");
  check("what has the focus can be seen", isRinged);
  await page.keyboard.press("Escape");
}

async function hover(page) {
  const box = await page.locator("#surface .heat").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 30);
  check("the surface gives a cell's figures to the pointer", /service time/.test(await page.textContent("#surface .readout")));
  const bar = page.locator("#batches .bar").first();
  await bar.hover({ force: true });
  check("the timeline gives a batch's figures to the pointer", /closed because/.test(await page.textContent("#batches .readout")));
}

async function commands(page) {
  const dialog = page.locator("dialog[open]");
  const button = (name) => page.getByRole("button", { name, exact: true });
  changes.length = 0;
  await button("Pin…").click();
  check("pin asks first and says what will happen", /Until it is unpinned the tuner chooses no other plan/.test(await dialog.textContent()));
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  check("a dialog that was left sends nothing", changes.length === 0, changes.join());

  await button("Pin…").click();
  await dialog.getByLabel("Largest batch").fill("0");
  await button("Pin").click();
  await dialog.locator(".error:not(:empty)").waitFor();
  const isOurs = (text) => text.includes("400 (Bad Request)"); // the browser's own words for the refusal
  check("the browser tells of the refusal and nothing else", complaints.filter((text) => !isOurs(text)).length === 0, complaints.join("; "));
  complaints.splice(0);
  const refusal = await dialog.locator(".error").textContent();
  check("a refusal is shown with its reason", refusal.includes("refused (400)") && refusal.includes("max_batch_size"), refusal);
  await shot(page, "dialog-refused");
  await dialog.getByLabel("Largest batch").fill("3");
  const memory = (await dialog.getByLabel("Memory").inputValue()) === "1024" ? "1769" : "1024";
  const place = new RegExp(`up to 3 items.*${memory.replace(/^1/, "1,")} MiB × 1 process`);
  await dialog.getByLabel("Memory").selectOption(memory);
  await dialog.getByLabel("Processes").fill("1");
  const consequence = await dialog.locator(".consequence").textContent();
  check("pin says what will serve", place.test(consequence), consequence);
  await shot(page, "dialog-pin");
  await button("Pin").click();
  await dialog.waitFor({ state: "hidden" });
  check("pin tells that it took effect", /is pinned/.test(await page.textContent("#toast")), await page.textContent("#toast"));
  await page.waitForFunction((wanted) => new RegExp(wanted).test(document.querySelector("#plan .sentence").textContent), place.source);
  check("the pinned point serves", true);
  check("the page says who holds the plan", (await page.locator(".chips").textContent()).includes("pinned"));
  check("pinning took two requests", changes.join() === Array(2).fill(`POST /control/models/${options.model}/pin`).join(), changes.join());

  await button("Unpin…").click();
  await button("Unpin").click();
  await dialog.waitFor({ state: "hidden" });
  await button("Freeze…").waitFor();
  await button("Freeze…").click();
  check("freeze says what stays", /The plan in force stays/.test(await dialog.textContent()));
  await button("Freeze").click();
  await dialog.waitFor({ state: "hidden" });
  await button("Unfreeze…").click();
  await button("Unfreeze").click();
  await dialog.waitFor({ state: "hidden" });
  await button("Freeze…").waitFor();
  await button("Forget…").click();
  check("forget says that it cannot be undone", /cannot be undone/.test(await dialog.textContent()));
  await shot(page, "dialog-forget");
  await button("Cancel").click();
  await dialog.waitFor({ state: "hidden" });
  const actions = changes.map((change) => change.split("/").at(-1)).join();
  check("unpin, freeze and unfreeze took one request each, cancel none", actions === "pin,pin,resume,freeze,resume", actions);
}

/** Accessibility by axe-core: WCAG 2.2 A and AA, contrast included. The page's policy forbids `eval`, so the browser's debugger brings it in. */
async function accessible(page, where) {
  const session = await page.context().newCDPSession(page);
  const evaluate = async (expression) => {
    const ran = await session.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (ran.exceptionDetails) throw new Error(ran.exceptionDetails.exception?.description ?? ran.exceptionDetails.text);
    return ran.result.value;
  };
  await evaluate(`${axe}; 1`);
  const { violations, passes } = await evaluate(`axe.run(document, { runOnly: ${JSON.stringify(RULES)}, resultTypes: ["violations"] })`);
  const found = violations.map(({ id, nodes }) => `${id} (${nodes.length}: ${nodes[0].target} ${nodes[0].failureSummary.replaceAll("\n", " ").slice(0, 200)})`);
  check(`axe-core finds nothing (${where})`, found.length === 0, found.join("; "));
  figures[`axe_rules_passed_${where.replaceAll(" ", "_")}`] = passes.length;
}

async function offline(page) {
  const before = complaints.length;
  await page.context().setOffline(true);
  await page.waitForFunction(() => /No answer from the gateway/.test(document.getElementById("connection").textContent));
  check("a lost connection is shown, with the time of the last answer", /the last was at \d\d:\d\d:\d\d/.test(await page.textContent("#connection")));
  await shot(page, "offline");
  await page.context().setOffline(false);
  await page.waitForFunction(() => document.getElementById("connection").textContent === "connected");
  check("and it comes back by itself", true);
  complaints.splice(before); // the browser's own words for requests that we cut off
}

async function fits(page, where) {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(`nothing is wider than the screen (${where})`, width <= page.viewportSize().width, `${width} px`);
}

const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox"] });
try {
  for (const [device, viewport] of [["desk", DESK], ["phone", PHONE]]) {
    for (const scheme of ["light", "dark"]) {
      const { context, page } = await open(browser, viewport, scheme);
      const where = `${device} ${scheme}`;
      await page.waitForTimeout(2000);
      if (where === "desk light") {
        await page.reload();
        await page.waitForSelector("#load .plot .line");
        await page.keyboard.press("Tab");
        check("the first stop of Tab leads past the header", (await page.evaluate(() => document.activeElement.className)) === "skip");
        await page.waitForSelector("#jobs tbody tr");
        await sections(page);
        await past(page);
        await keys(page);
        await hover(page);
      }
      await fits(page, where);
      await accessible(page, where);
      await shot(page, `${device}-${scheme}`);
      await context.close();
    }
  }
  const { context, page } = await open(browser, DESK, "light");
  await commands(page);
  await page.goto(`${options.url}/console#model=echo`);
  await page.waitForFunction(() => document.getElementById("model-name").textContent === "echo");
  check("a pinned model says why there is no surface", /The policy is “pinned”/.test(await page.textContent("#surface")));
  const errors = await page.locator("#health tbody tr").allTextContents();
  check("errors are shown by kind", errors.length >= 2, errors.join("|"));
  await shot(page, "pinned-model");
  await offline(page);
  await context.close();
} finally {
  await browser.close();
}
check("the browser's console is silent", complaints.length === 0, [...new Set(complaints)].slice(0, 5).join("; "));
Object.assign(figures, { failures, console_complaints: complaints.length });
if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
console.log(`${figures.checks} checks, ${failures.length} failed`);
process.exitCode = failures.length ? 1 : 0;
