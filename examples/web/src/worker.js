// Decodes in a Web Worker: takes { id, file } or { id, url }, answers { id, record }, { id, chunk } …, { id, done }, or
// { id, error } in between or at the end.

import * as fzstd from "fzstd";
import * as ort from "onnxruntime-web/wasm";
import { SanFile } from "../../js/san.js";
import { BeatReader } from "./beats.js";
import { Synthesis, UnknownBankError } from "./synthesis.js";

const MAX_SAMPLES = 2 ** 27; // half a GiB of int32 in the page, and as much again in pyramids and wasm
const MAX_BYTES = 2 ** 30;

ort.env.wasm.numThreads = 1; // more need headers that a plain static server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("ort.wasm", self.location.href).href };

const local = (path) => fetch(new URL(path, self.location.href)).then((response) => demandOk(response, path));
const bytesOf = async (path) => new Uint8Array(await (await local(path)).arrayBuffer());

function demandOk(response, path) {
  if (!response.ok) throw new Error(`${path}: the server answers ${response.status} ${response.statusText}`.trim());
  return response;
}

const banks = local("banks.json").then((response) => response.json()); // [{ name, sha256 }]
const core = WebAssembly.compileStreaming(local("san.wasm"));
const priors = Promise.all([bytesOf("residual.prior"), bytesOf("events.prior")]);
for (const each of [banks, core, priors]) each.catch(() => {}); // told when a file needs them

const part = (ending) => async (sha256) => {
  const bank = (await banks).find((each) => each.sha256 === sha256);
  return bank && bytesOf(`banks/${bank.name}.${ending}`);
};
const synthesis = new Synthesis(ort, part("onnx"), { executionProviders: ["wasm"] });

// onnxruntime takes longer to start than a record to decode: it starts while the file is read, with the first bank.
banks.then(([{ sha256 }]) => synthesis.session(sha256)).catch(() => {});

async function contentOf({ file, url }) {
  if (url) return new Uint8Array(await demandOk(await fetch(url), url).arrayBuffer());
  if (file.size > MAX_BYTES) throw new Error(`it has ${file.size} bytes; this page opens up to ${MAX_BYTES}`);
  return new Uint8Array(await file.arrayBuffer());
}

const zstd = (frame, size) => fzstd.decompress(frame, new Uint8Array(size));

async function open(content) {
  const [residual, events] = await priors;
  const file = await SanFile.open(content, { zstd, models: part("sanm"), priors: { residual, events }, wasm: await core });
  const nSamples = file.channels.reduce((sum, each) => sum + file.nFrames * each.samplesPerFrame, 0);
  if (nSamples > MAX_SAMPLES) throw new Error(`it has ${nSamples} samples; this page opens up to ${MAX_SAMPLES}`);
  return file;
}

function recordOf(file, nBytes) {
  const { nFrames, chunkFrames, nChunks, frameRateHz, channels, level, source, models } = file;
  const segments = Array.from({ length: file.nSegments }, (_, i) => file.segment(i));
  return { nBytes, nFrames, chunkFrames, nChunks, frameRateHz, channels, level, source, models, segments };
}

let current = null; // id of the file that the page wants

async function decode({ id, file: picked, url }) {
  const begin = performance.now();
  const say = (message, transfer = []) => self.postMessage({ id, ...message }, transfer);
  const content = await contentOf({ file: picked, url });
  const file = await open(content);
  say({ record: recordOf(file, content.length) });
  const reader = new BeatReader(file.channels.length);
  for (let index = 0; index < file.nChunks && id === current; index++) {
    const firstSample = (channel) => index * file.chunkFrames * file.channels[channel].samplesPerFrame;
    const beats = [];
    try {
      const samples = await file.decodeChunkWith(index, (request) => {
        beats.push(...reader.read(request, firstSample));
        return synthesis.run(request);
      });
      const { events } = samples; // starts of the beats of each channel's lead group
      say({ chunk: { index, samples: [...samples], events, beats } }, samples.map((each) => each.buffer));
    } catch (error) {
      if (error instanceof UnknownBankError || !["corrupt", "truncated"].includes(error.code)) throw error;
      say({ lost: { index, frames: file.chunkLength(index), message: error.message } });
    }
  }
  if (id === current) say({ done: { ms: performance.now() - begin } });
}

self.onmessage = async ({ data }) => {
  current = data.id;
  try {
    await decode(data);
  } catch (error) {
    self.postMessage({ id: data.id, error: { code: error.code ?? null, message: error.message } });
  }
};
