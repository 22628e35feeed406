// Reads .san files in pages, workers and Node (18 and later). No dependencies; san.wasm, built of examples/c, lies beside it.
//
//   import { SanFile, SanError } from "./san.js";
//   const file = await SanFile.open(bytes, { zstd, models, priors });
//   const rows = file.decodeChunk(0);                         // an Int32Array for each channel
//   const same = await file.decodeChunkWith(0, synthesise);   // section 10 by a decoder.onnx
//
// SanFile.open(bytes, options): bytes are a Uint8Array, the whole file. Options:
//   zstd         (frame, size) => Uint8Array: decompresses a zstd frame whose content has `size` bytes. Synchronous; it may throw.
//                Node 22.15: (frame) => zlib.zstdDecompressSync(frame);
//                fzstd: (frame, size) => fzstd.decompress(frame, new Uint8Array(size))
//   models       whole .sanm files as an array of Uint8Array, or async (sha256) => Uint8Array or undefined, which is asked for
//                models that the file does not carry
//   priors       { residual, events }: the files residual.prior and events.prior, which files of coder 2 need
//   wasm         WebAssembly.Module or bytes of san.wasm; without it the file beside this one is fetched, or read by Node
//   memoryLimit  bytes that decoding may take; 1 GiB without it
//
// file.nFrames, chunkFrames, nChunks, frameRateHz, frameRate { numerator, denominator }, chunkLength(i) in frames, level, source,
// nSideFiles, models (SHA-256 of each), nSegments, and file.channels: [{ name, unit, gain, baseline, minimum, maximum, missing,
// resolutionBits, samplesPerFrame, samplingRateHz, promises: [{ kind, value }] }].
// A sample is (stored - baseline) / gain units; one that equals `missing` is missing; null: the channel has no missing value.
// file.segment(s): { firstChunk, nChunks, coder, beatLengths: [of each lead group], channels: [{ prdn, largestError, leadGroup }] },
// the last as the encoder measured them.
//
// decodeChunk gives an array of an Int32Array for each channel. Its property `events` has an Int32Array for each channel, too: at
// which samples of the chunk the windows of its lead group's beats begin; the first may be negative.
//
// decodeChunkWith calls `await synthesise(request)` for every model, every output, and every number of samples, of the chunk's channels:
//   request.sha256    of the model
//   request.channels  indices of the S channels ("signals")
//   request.nSamples  N
//   request.inputs    { name: { type: "int64" | "int32" | "float64", data, dims } }, the inputs of decoder.onnx
//   request.output    "samples", or "components" of channels of a mixed lead group: which of its outputs is needed
// and takes its S * N numbers, signal after signal, as an Int32Array of samples or a BigInt64Array of components.
//
// Samples are right or there are none: a chunk's digest is checked. All that goes wrong throws a SanError, with a `code`:
// corrupt, truncated, unsupported, limit, model (with `sha256`, unless it is a prior that is not there), memory, or range (there is
// no such chunk, or decodeChunkWith is under way). After a failure other chunks can be decoded. Each SanFile has a wasm instance
// of its own, which goes with it.

const CODES = ["ok", "corrupt", "truncated", "unsupported", "limit", "model", "memory"];
const MODEL = CODES.indexOf("model");
const MAX_MODELS = 16;

export class SanError extends Error {
  constructor(code, message, sha256) {
    super(message);
    this.name = "SanError";
    this.code = code;
    if (sha256) this.sha256 = sha256;
  }
}

let shared; // san.wasm, compiled once

async function compiled(wasm) {
  if (wasm instanceof WebAssembly.Module) return wasm;
  if (wasm) return WebAssembly.compile(wasm);
  shared ??= readBeside("san.wasm").then((content) => WebAssembly.compile(content));
  try {
    return await shared;
  } catch (error) {
    shared = undefined;
    throw error;
  }
}

async function readBeside(name) {
  const url = new URL(name, import.meta.url);
  if (url.protocol === "file:" && typeof process !== "undefined") {
    return (await import("node:fs/promises")).readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new SanError("memory", `${url} cannot be read: ${response.status}`);
  return response.arrayBuffer();
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The instance and its memory; what it grows to has to be looked at anew after every call. */
class Core {
  constructor(module, zstd) {
    const leave = { reason: "san_refuse" };
    this.exports = new WebAssembly.Instance(module, {
      env: {
        attempt: (work, san, task) => {
          const stack = this.exports.__stack_pointer.value;
          try {
            this.exports.__indirect_function_table.get(work)(san, task);
          } catch (error) {
            if (error !== leave) throw error;
            this.exports.__stack_pointer.value = stack;
          }
        },
        leave: () => {
          throw leave;
        },
        zstd_decompress: (to, capacity, from, length) => {
          try {
            const content = zstd(this.bytes(from, length).slice(), capacity);
            if (content.length !== capacity) return -1;
            this.bytes(to, capacity).set(content);
            return capacity;
          } catch {
            return -1;
          }
        },
      },
    }).exports;
  }

  bytes(at, length) {
    return new Uint8Array(this.exports.memory.buffer, at, length);
  }

  ints(at, length) {
    return new Int32Array(this.exports.memory.buffer, at, length);
  }

  wideInts(at, length) {
    return new BigInt64Array(this.exports.memory.buffer, at, length);
  }

  /** Numbers of a structure of san.h; san_wasm.c asserts where they are. */
  at(place) {
    const view = new DataView(this.exports.memory.buffer, place);
    return {
      u32: (offset) => view.getUint32(offset, true),
      i32: (offset) => view.getInt32(offset, true),
      f64: (offset) => view.getFloat64(offset, true),
      u64: (offset) => view.getBigUint64(offset, true),
    };
  }

  text(at) {
    const rest = new Uint8Array(this.exports.memory.buffer, at);
    return new TextDecoder().decode(rest.slice(0, rest.indexOf(0)));
  }

  take(length) {
    const at = this.exports.malloc(Math.max(length, 1)) >>> 0;
    if (!at) throw new SanError("memory", `there is no memory for ${length} bytes`);
    return at;
  }

  put(bytes) {
    const at = this.take(bytes.length);
    this.bytes(at, bytes.length).set(bytes);
    return at;
  }

  message() {
    return this.text(this.exports.message());
  }

  check(status) {
    if (status) throw new SanError(CODES[status] ?? "corrupt", this.message());
  }

  sha256(content) {
    const digest = this.take(32);
    const at = this.put(content);
    this.exports.sha256(digest, at, content.length);
    const result = hex(this.bytes(digest, 32));
    this.exports.free(at);
    this.exports.free(digest);
    return result;
  }

  async open(content, find, priors, memoryLimit) {
    if (priors?.residual) this.exports.give_residual_prior(this.put(priors.residual), priors.residual.length);
    if (priors?.events) this.exports.give_events_prior(this.put(priors.events), priors.events.length);
    const at = this.put(content);
    for (let n = 0; ; n++) {
      const status = this.exports.open(at, content.length, memoryLimit);
      if (status !== MODEL || n === MAX_MODELS) return this.check(status);
      const message = this.message();
      const sha256 = hex(this.bytes(this.exports.wanted_model(), 32));
      const model = await find(sha256);
      if (!model || this.sha256(model) !== sha256) throw new SanError("model", message, sha256);
      this.exports.give_model(this.put(model), model.length);
    }
  }
}

function finder(models, core) {
  if (typeof models === "function") return models;
  const known = new Map((models ?? []).map((content) => [core.sha256(content), content]));
  return (sha256) => known.get(sha256);
}

function readInfo(core) {
  const info = core.at(core.exports.info());
  const [numerator, denominator] = [Number(info.u64(0)), Number(info.u64(8))];
  const frameRateHz = numerator / denominator;
  const channels = Array.from({ length: info.u32(36) }, (_, index) => {
    const channel = core.at(info.u32(40) + 56 * index);
    return Object.freeze({
      name: core.text(channel.u32(0)),
      unit: core.text(channel.u32(4)),
      gain: channel.f64(8),
      baseline: channel.i32(16),
      minimum: channel.i32(20),
      maximum: channel.i32(24),
      missing: channel.i32(28) ? channel.i32(32) : null,
      resolutionBits: channel.u32(36),
      samplesPerFrame: channel.u32(40),
      samplingRateHz: frameRateHz * channel.u32(40),
      promises: Array.from({ length: channel.u32(44) }, (_, i) => {
        const promise = core.at(channel.u32(48) + 16 * i);
        return { kind: Number(promise.u64(0)), value: promise.f64(8) };
      }),
    });
  });
  return {
    frameRate: { numerator, denominator },
    frameRateHz,
    nFrames: Number(info.u64(16)),
    chunkFrames: Number(info.u64(24)),
    nChunks: info.u32(32),
    channels: Object.freeze(channels),
    chunkSamples: info.u32(44),
    nSegments: info.u32(48),
    level: info.u32(52),
    source: core.text(info.u32(56)),
    nSideFiles: info.u32(60),
    models: Array.from({ length: info.u32(64) }, (_, i) => hex(core.bytes(info.u32(68) + 32 * i, 32))),
  };
}

/** What san_segment says. */
function readSegment(core, number, nChannels) {
  const place = core.take(24);
  core.check(core.exports.segment(number, place));
  const segment = core.at(place);
  const channels = Array.from({ length: nChannels }, (_, index) => {
    const measured = core.at(segment.u32(20) + 16 * index);
    return { prdn: measured.f64(0), largestError: measured.u32(8), leadGroup: measured.u32(12) };
  });
  const result = {
    firstChunk: segment.u32(0),
    nChunks: segment.u32(4),
    coder: segment.u32(8),
    beatLengths: Array.from(core.ints(segment.u32(16), segment.u32(12))),
    channels,
  };
  core.exports.free(place);
  return result;
}

/** Starts of the events of a channel in the chunk that was decoded last. */
function readEvents(core, channel) {
  const n = core.take(4);
  const at = core.exports.starts(channel, n);
  const starts = core.ints(at, core.ints(n, 1)[0]).slice();
  core.exports.free(n);
  return starts;
}

/** What san_chunk_coded says of a channel, its arrays copied. */
function readCoded(core, index) {
  const place = core.exports.coded(index);
  if (!place) return null;
  const coded = core.at(place);
  const [circle, nEvents] = [coded.u32(8), coded.u32(60)];
  const groups = Array.from({ length: coded.u32(12) }, (_, i) => {
    const group = core.at(coded.u32(16) + 20 * i);
    return { nWindows: circle / group.i32(0), nKernels: group.i32(4) };
  });
  const nLevels = groups.reduce((sum, { nWindows, nKernels }) => sum + nWindows * nKernels, 0);
  const [nKernels, length] = [coded.u32(76), coded.u32(80)];
  return {
    index,
    sha256: hex(core.bytes(coded.u32(0), 32)),
    nSamples: coded.u32(4),
    groups,
    levels: core.ints(coded.u32(20), nLevels).slice(),
    reconstruction: [coded.i32(24), coded.i32(28), coded.i32(32)],
    scale: coded.f64(40),
    offset: coded.i32(48),
    minimum: coded.i32(52),
    maximum: coded.i32(56),
    starts: core.ints(coded.u32(64), nEvents).slice(),
    gains: core.bytes(coded.u32(68), nEvents).slice(),
    kernels: core.bytes(coded.u32(72), nEvents).slice(),
    beatLength: nKernels ? length : 0,
    nBeatKernels: nKernels,
    beatKernels: core.ints(coded.u32(84), nKernels * length).slice(),
    beatScale: coded.u64(88),
    output: coded.i32(96) ? "components" : "samples",
  };
}

const int32 = (values, ...dims) => ({ type: "int32", data: Int32Array.from(values), dims: dims.length ? dims : [values.length] });
const int64 = (values) => ({ type: "int64", data: BigInt64Array.from(values, BigInt), dims: [values.length] });

/** Levels of one group of all signals: those that are not 0, and where they are in (signal, window, kernel). */
function sparseLevels(signals, group, firsts) {
  const [index, level] = [[], []];
  signals.forEach(({ groups, levels }, signal) => {
    const { nWindows, nKernels } = groups[group];
    let at = firsts[group];
    for (let kernel = 0; kernel < nKernels; kernel++) {
      for (let window = 0; window < nWindows; window++, at++) {
        if (!levels[at]) continue;
        index.push((signal * nWindows + window) * nKernels + kernel);
        level.push(levels[at]);
      }
    }
  });
  return { [`level_index_${group}`]: int64(index), [`level_${group}`]: int32(level) };
}

/** Kernels of all signals, one below the other; shorter ones are followed by zeros. */
function beatInputs(signals) {
  const length = Math.max(1, ...signals.map(({ beatLength }) => beatLength));
  const nRows = signals.reduce((sum, { nBeatKernels }) => sum + nBeatKernels, 0);
  const weights = new Int32Array(nRows * length);
  const events = { signal: [], start: [], kernel: [], gain: [] };
  let row = 0;
  signals.forEach((each, signal) => {
    each.gains.forEach((gain, event) => {
      if (!gain) return;
      events.signal.push(signal);
      events.start.push(each.starts[event]);
      events.kernel.push(row + each.kernels[event]);
      events.gain.push(gain);
    });
    for (let kernel = 0; kernel < each.nBeatKernels; kernel++, row++) {
      weights.set(each.beatKernels.subarray(kernel * each.beatLength, (kernel + 1) * each.beatLength), row * length);
    }
  });
  return {
    event_signal: int64(events.signal),
    event_start: int64(events.start),
    event_kernel: int64(events.kernel),
    event_gain: int32(events.gain),
    beat_kernels: int32(weights, nRows, length),
    beat_scale: int64(signals.map(({ beatScale }) => beatScale)),
  };
}

function requestOf(signals) {
  const [{ sha256, nSamples, groups, output }] = signals;
  const firsts = [0];
  for (const { nWindows, nKernels } of groups) firsts.push(firsts.at(-1) + nWindows * nKernels);
  const column = (name) => int32(signals.map((each) => each[name]));
  return {
    sha256,
    channels: signals.map(({ index }) => index),
    nSamples,
    output,
    inputs: {
      n_samples: int64([nSamples]),
      ...Object.assign({}, ...groups.map((_, group) => sparseLevels(signals, group, firsts))),
      reconstruction: int32(signals.flatMap(({ reconstruction }) => reconstruction), signals.length, 3),
      scale: { type: "float64", data: Float64Array.from(signals, ({ scale }) => scale), dims: [signals.length] },
      offset: column("offset"),
      minimum: column("minimum"),
      maximum: column("maximum"),
      ...beatInputs(signals),
    },
  };
}

export class SanFile {
  #core;
  #chunkSamples;
  #samples = 0; // room for those of a chunk
  #last = Promise.resolve(); // of the calls of decodeChunkWith
  #isInSteps = false;

  /** Use SanFile.open. */
  constructor(core) {
    const { chunkSamples, ...info } = readInfo(core);
    this.#core = core;
    this.#chunkSamples = chunkSamples;
    Object.assign(this, info);
  }

  static async open(bytes, { zstd, models, priors, wasm, memoryLimit = 2 ** 30 } = {}) {
    if (typeof zstd !== "function") throw new TypeError("options.zstd: a function that decompresses a zstd frame is needed");
    const core = new Core(await compiled(wasm), zstd);
    await core.open(bytes, finder(models, core), priors, memoryLimit);
    return new SanFile(core);
  }

  chunkLength(index) {
    this.#checkIndex(index);
    return Math.min(this.chunkFrames, this.nFrames - index * this.chunkFrames);
  }

  segment(number) {
    this.#checkIsFree();
    return readSegment(this.#core, number, this.channels.length);
  }

  decodeChunk(index) {
    this.#checkIndex(index);
    this.#checkIsFree();
    const room = this.#room();
    this.#core.check(this.#core.exports.decode(index, room));
    return this.#rows(index);
  }

  async decodeChunkWith(index, synthesise) {
    this.#checkIndex(index);
    const before = this.#last;
    const result = before.then(() => this.#inSteps(index, synthesise));
    this.#last = result.catch(() => {});
    return result;
  }

  #checkIsFree() {
    if (this.#isInSteps) throw new SanError("range", "decodeChunkWith is under way");
  }

  #checkIndex(index) {
    if (!(Number.isInteger(index) && index >= 0 && index < this.nChunks)) {
      throw new SanError("range", `there is no chunk ${index} of ${this.nChunks}`);
    }
  }

  #room() {
    this.#samples ||= this.#core.take(4 * this.#chunkSamples);
    return this.#samples;
  }

  #rows(index) {
    const frames = this.chunkLength(index);
    let at = this.#samples;
    const rows = this.channels.map(({ samplesPerFrame }) => {
      const row = this.#core.ints(at, frames * samplesPerFrame).slice();
      at += row.byteLength;
      return row;
    });
    rows.events = this.channels.map((_, channel) => readEvents(this.#core, channel));
    return rows;
  }

  async #inSteps(index, synthesise) {
    const core = this.#core;
    this.#isInSteps = true;
    try {
      const room = this.#room();
      core.check(core.exports.begin(index));
      const alike = new Map();
      for (let channel = 0; channel < this.channels.length; channel++) {
        const coded = readCoded(core, channel);
        if (!coded) continue;
        const key = `${coded.sha256} ${coded.nSamples} ${coded.output}`;
        if (!alike.has(key)) alike.set(key, []);
        alike.get(key).push(coded);
      }
      for (const signals of alike.values()) await this.#synthesised(signals, synthesise);
      core.check(core.exports.finish(room));
      return this.#rows(index);
    } finally {
      this.#isInSteps = false;
    }
  }

  async #synthesised(signals, synthesise) {
    const [{ nSamples, output }] = signals;
    const isWide = output === "components";
    const Numbers = isWide ? BigInt64Array : Int32Array;
    const found = await synthesise(requestOf(signals));
    if (!(found instanceof Numbers) || found.length !== signals.length * nSamples) {
      throw new TypeError(`synthesise: ${output} as ${Numbers.name} of ${signals.length} times ${nSamples} are needed`);
    }
    const core = this.#core;
    const at = core.take(nSamples * Numbers.BYTES_PER_ELEMENT);
    try {
      signals.forEach(({ index }, signal) => {
        const place = isWide ? core.wideInts(at, nSamples) : core.ints(at, nSamples);
        place.set(found.subarray(signal * nSamples, (signal + 1) * nSamples));
        core.check(isWide ? core.exports.component(index, at) : core.exports.approximate(index, at));
      });
    } finally {
      core.exports.free(at);
    }
  }
}
