// The page: takes a file, hands it to the worker, and shows what arrives.

import { listen } from "./gestures.js";
import { Leads } from "./leads.js";
import { Overview } from "./overview.js";
import { onPaletteChange } from "./palette.js";
import { Record } from "./record.js";
import { showChannels, showDetails, showFigures, showKernels } from "./report.js";
import { clock, counted } from "./times.js";
import { View } from "./view.js";

const FIRST_SPAN_S = 10;
const PROGRESS_MS = 100;
const FEWEST_SAMPLES = 20; // in the closest view

const at = (id) => document.getElementById(id);
const leads = new Leads(at("leads"));
const overview = new Overview(at("overview"));
const root = document.documentElement;

let worker = null;
let record = null;
let view = null;
let times = {}; // of the opened file, in ms from when it was opened
let openedAt = 0;
let nOpened = 0;
let progress = 0; // timer of what need not be drawn for every chunk

function state(name) {
  root.dataset.state = name; // empty, opening, decoding, done, failed
}

function complain(message) {
  at("error").textContent = message.replace(/\s+/g, " ").trim();
  at("error").hidden = false;
}

function fail(message) {
  complain(message);
  state("failed");
}

function open(name, source, since) {
  at("error").hidden = true;
  at("progress").style.width = "0";
  record = null;
  root.classList.remove("has-record");
  times = {};
  openedAt = since;
  document.title = `${name} · sancodec`;
  at("name").textContent = name;
  if (typeof WebAssembly !== "object") return fail("This browser has no WebAssembly, which decoding needs.");
  state("opening");
  worker ??= startWorker();
  worker.postMessage({ id: ++nOpened, ...source });
}

function startWorker() {
  const started = new Worker(new URL("worker.js", document.baseURI), { type: "module" });
  started.onmessage = ({ data }) => data.id === nOpened && receive(data);
  started.onerror = (event) => fail(`The decoder did not start: ${event.message ?? "worker.js cannot be loaded"}`);
  return started;
}

function receive({ record: described, chunk, lost, done, error }) {
  if (described) begin(described);
  else if (chunk || lost) pass(chunk, lost);
  else if (done) finish(done);
  else if (error) fail(`${at("name").textContent} cannot be ${record ? "decoded" : "opened"}: ${error.message}`);
}

function begin(described) {
  times.header = performance.now() - openedAt;
  record = new Record(at("name").textContent, described);
  const shortest = FEWEST_SAMPLES / Math.max(...record.channels.map((each) => each.samplingRateHz));
  view = new View(record.durationS, shortest, () => {
    leads.draw();
    overview.move();
    showSpan();
  });
  root.classList.add("has-record");
  state("decoding");
  leads.show(record, view);
  overview.show(record, view);
  view.set(0, record.durationS < 2 * FIRST_SPAN_S ? record.durationS : FIRST_SPAN_S);
  showFigures(at("figures"), record);
  showChannels(at("channels"), record);
  showDetails(at("details"), record, []);
  at("kernels").closest("section").hidden = true;
}

function pass(chunk, lost) {
  const doneS = record.doneS;
  if (chunk) record.append(chunk);
  else record.skip(lost);
  if (doneS < view.to) leads.draw();
  progress ||= setTimeout(showProgress, PROGRESS_MS);
  if (lost) complain(lossText());
  if (times.firstPicture === undefined) afterPicture(() => (times.firstPicture = performance.now() - openedAt));
}

function showProgress() {
  progress = 0;
  if (!record) return;
  overview.draw();
  at("progress").style.width = `${(100 * record.nFramesDone) / record.nFrames}%`;
  showFigures(at("figures"), record, times.decoding);
}

function lossText() {
  const { lost, chunkFrames, frameRateHz, nChunks, name } = record;
  const [{ index, frames, message }] = lost;
  const from = (index * chunkFrames) / frameRateHz;
  const where = `${clock(from)} to ${clock(from + frames / frameRateHz)}`;
  if (lost.length === 1) return `${name} is damaged: ${where} cannot be shown: ${message}`;
  return `${name} is damaged: ${lost.length} of ${counted(nChunks, "chunk")} cannot be shown, first ${where}: ${message}`;
}

// After the next frame was painted: a task follows the frame that requestAnimationFrame precedes.
function afterPicture(then) {
  requestAnimationFrame(() => setTimeout(then));
}

async function finish({ ms }) {
  const finished = record;
  times.end = performance.now() - openedAt;
  times.decoding = ms;
  showProgress();
  showChannels(at("channels"), record);
  showKernels(at("kernels"), record);
  const digests = await Promise.all(finished.lost.length ? [] : finished.channels.map((each) => each.digest()));
  if (finished !== record) return;
  showDetails(at("details"), record, digests);
  afterPicture(() => {
    globalThis.sancodec = { times, digests, view, leads }; // for tests and the curious
    state("done");
  });
}

function showSpan() {
  const step = view.spanS < 2 ? 0.01 : view.spanS < 20 ? 0.1 : 1;
  at("span").textContent = `${clock(view.from, step)} – ${clock(view.to, step)}`;
}

function pick(files) {
  if (files.length) open(files[0].name, { file: files[0] }, performance.now());
}

at("file").addEventListener("change", (event) => {
  pick(event.target.files);
  event.target.value = "";
});
for (const each of document.querySelectorAll(".open")) each.addEventListener("click", () => at("file").click());
addEventListener("dragover", (event) => {
  event.preventDefault();
  root.classList.add("is-dragged-over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) root.classList.remove("is-dragged-over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  root.classList.remove("is-dragged-over");
  pick(event.dataTransfer.files);
});

listen(at("leads"), () => view, () => leads.area());
at("closer").addEventListener("click", () => view.zoom(0.5));
at("further").addEventListener("click", () => view.zoom(2));
at("whole").addEventListener("click", () => view.set(0, view.durationS));
at("ten").addEventListener("click", () => view.set((view.from + view.to - FIRST_SPAN_S) / 2, FIRST_SPAN_S));
at("fit").addEventListener("change", (event) => leads.fit(event.target.value === "record"));
onPaletteChange(() => {
  leads.draw();
  overview.draw();
});

function openAddressed(wanted) {
  try {
    const url = new URL(wanted, location.href);
    open(decodeURIComponent(url.pathname.split("/").pop()), { url: url.href }, 0);
  } catch {
    fail(`?file=${wanted} is no address`);
  }
}

const wanted = new URLSearchParams(location.search).get("file");
if (wanted) openAddressed(wanted);
else {
  state("empty");
  if (typeof WebAssembly === "object") worker = startWorker();
}
