// Opens files in the built page with Chromium, for tests/examples/test_web.py.
//
// Takes JSON on stdin, { chromium, tasks: [task] }, and prints an array with the results of each task. A task has the
// url of the page, and
//   files            paths that are picked one after the other; without, the page opens what the url says
//   drop             path of a file that is dropped on the page
//   banks            instead of banks.json
//   noWebAssembly    true: a browser without it
//   viewport, colorScheme, screenshot (path of a PNG of the page when all is done), gestures (true: they are tried),
//                    frames (true: frames are measured)
// A result is an array of { state, error, digests, times, figures, channels, nKernels, gestures, frames } for each file.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { chromium } from "playwright-core";

const GESTURES = [
  ["zoom out", 45, 0, 60],
  ["zoom in to minutes", 10, 0, -60],
  ["pan over minutes", 40, -30, 0],
  ["zoom in to seconds", 35, 0, -60],
  ["pan over seconds", 40, 30, 0],
];
const MOST_MS = 120_000;

async function outcome(page) {
  const isOver = () => ["done", "failed"].includes(document.documentElement.dataset.state);
  await page.waitForFunction(isOver, null, { timeout: MOST_MS });
  return page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent);
    const error = document.getElementById("error");
    const { state } = document.documentElement.dataset;
    const [labels, values] = [texts("#figures dt"), texts("#figures dd")];
    return {
      state,
      error: error.hidden ? null : error.textContent,
      isErrorShown: error.getClientRects().length > 0,
      digests: state === "done" ? sancodec.digests : [],
      times: state === "done" ? sancodec.times : {},
      figures: Object.fromEntries(labels.map((label, i) => [label, values[i]])),
      channels: texts("#channels td"),
      nKernels: document.querySelectorAll("#kernels svg").length,
    };
  });
}

async function drop(page, path) {
  const content = readFileSync(path).toString("base64");
  await page.evaluate(
    ([text, name]) => {
      const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    },
    [content, basename(path)],
  );
}

// Each step moves by the mouse's wheel, as a hand would, and takes a frame.
async function frames(page) {
  const plots = await page.locator("#leads .u-over").first().boundingBox();
  await page.mouse.move(plots.x + plots.width / 2, plots.y + plots.height / 2);
  await page.evaluate(() => {
    globalThis.gaps = [];
    globalThis.drawn = [];
    let before = null;
    const tick = (now) => {
      if (before !== null) gaps.push(now - before);
      before = now;
      drawn.push(sancodec.leads.drawMs);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const found = {};
  for (const [name, nSteps, deltaX, deltaY] of GESTURES) {
    await page.evaluate(() => {
      gaps.length = 0;
      drawn.length = 0;
    });
    for (let i = 0; i < nSteps; i++) {
      await page.mouse.wheel(deltaX, deltaY);
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    found[name] = await page.evaluate(() => {
      const at = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];
      const { spanS } = sancodec.view;
      return { spanS, gapMs: [at(gaps, 0.5), at(gaps, 0.95), at(gaps, 1)], drawMs: [at(drawn, 0.5), at(drawn, 0.95)] };
    });
  }
  return found;
}

// Spans in seconds after each gesture of mouse, keys and fingers, from 10 s at 0.
async function gestures(page) {
  const plots = await page.locator("#leads .u-over").first().boundingBox();
  const [x, y] = [plots.x + plots.width / 2, plots.y + plots.height / 2];
  const spans = {};
  const note = async (name) => {
    await page.evaluate(() => new Promise(requestAnimationFrame));
    spans[name] = await page.evaluate(() => [sancodec.view.from, sancodec.view.to]);
  };
  await page.evaluate(() => sancodec.view.set(0, 10));
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x - plots.width / 2, y, { steps: 5 });
  await page.mouse.up();
  await note("dragged by half");
  await page.mouse.dblclick(x, y);
  await note("double click");
  await page.keyboard.press("Home");
  await note("Home");
  await page.keyboard.press("0");
  await note("0");
  await page.evaluate(() => sancodec.view.set(0, 10));
  const session = await page.context().newCDPSession(page);
  const touch = (type, apart) => {
    const touchPoints = apart ? [x - apart, x + apart].map((each, id) => ({ x: each, y, id })) : [];
    return session.send("Input.dispatchTouchEvent", { type, touchPoints });
  };
  await touch("touchStart", 50);
  await touch("touchMove", 75);
  await touch("touchMove", 100);
  await touch("touchEnd", 0);
  await note("pinch to half");
  const strip = await page.locator("#overview").boundingBox();
  await page.mouse.click(strip.x + strip.width / 2, strip.y + strip.height / 2);
  await note("click into the strip");
  return spans;
}

async function perform(browser, task) {
  const { viewport = { width: 1280, height: 800 }, colorScheme = "light" } = task;
  const context = await browser.newContext({ viewport, colorScheme, hasTouch: Boolean(task.gestures) });
  const page = await context.newPage();
  page.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
  if (task.noWebAssembly) await page.addInitScript(() => delete globalThis.WebAssembly);
  if (task.banks) await context.route("**/banks.json", (route) => route.fulfill({ json: task.banks }));
  await page.goto(task.url);
  const results = [];
  if (task.drop) await drop(page, task.drop);
  for (const path of task.files ?? [null]) {
    if (path) await page.setInputFiles("#file", path);
    results.push(await outcome(page));
  }
  if (task.screenshot) await page.screenshot({ path: task.screenshot, fullPage: true });
  if (task.gestures) results.at(-1).gestures = await gestures(page);
  if (task.frames) results.at(-1).frames = await frames(page);
  await context.close();
  return results;
}

const { chromium: executablePath, tasks } = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const results = [];
  for (const task of tasks) results.push(await perform(browser, task));
  process.stdout.write(JSON.stringify(results));
} finally {
  await browser.close();
}
