// What san.js promises beside samples, of a file with two channels, several chunks and a bank: test_js_decoder.py.

import assert from "node:assert/strict";
import { SanFile } from "../../examples/js/san.js";
import { given, models, priors, read, zstd } from "./at_hand.mjs";
import { synthesiser } from "./synthesis.mjs";

const bytes = read(given.files[0]);
const code = (expected) => (error) => error.name === "SanError" && error.code === expected;
const synthesise = synthesiser(models);
const file = await SanFile.open(bytes, { zstd, models, priors });
const expected = Array.from({ length: file.nChunks }, (_, i) => file.decodeChunk(i));
assert.ok(file.nChunks > 1);

// Models may come one by one, by their SHA-256.
const asked = [];
const byDigest = await SanFile.open(bytes, { zstd, priors, models: async (sha256) => (asked.push(sha256), models.find((_, i) =>
  given.digests[i] === sha256)) });
assert.deepEqual(asked, file.models);
assert.deepEqual(byDigest.decodeChunk(1), expected[1]);
await assert.rejects(SanFile.open(bytes, { zstd, priors, models: () => undefined }), (error) =>
  code("model")(error) && error.sha256 === file.models[0]);
await assert.rejects(SanFile.open(bytes, { zstd, priors, models: () => models[0].slice(1) }), code("model"));

// Chunks in any order, several at a time; nothing else meanwhile.
const some = [1, 0, 1].map((i) => file.decodeChunkWith(i, synthesise));
await Promise.resolve();
assert.throws(() => file.decodeChunk(0), code("range"));
assert.throws(() => file.segment(0), code("range"));
assert.deepEqual(await Promise.all(some), [expected[1], expected[0], expected[1]]);
assert.deepEqual(file.decodeChunk(0), expected[0]);

// Wrong samples never come out, and what goes wrong does no harm to what follows.
const off = async (request) => (await synthesise(request)).map((sample, i) => sample + (i === 7 ? 1 : 0));
await assert.rejects(file.decodeChunkWith(0, off), code("corrupt"));
await assert.rejects(file.decodeChunkWith(0, async () => new Int32Array(3)), TypeError);
await assert.rejects(file.decodeChunkWith(0, async ({ nSamples, channels }) =>
  new Int32Array(nSamples * channels.length).fill(2 ** 31 - 1)), code("corrupt"));
await assert.rejects(file.decodeChunkWith(0, async () => { throw new Error("no session"); }), /no session/);
assert.deepEqual(await file.decodeChunkWith(0, synthesise), expected[0]);

// What does not exist, or lacks.
for (const index of [-1, file.nChunks, 0.5, undefined]) assert.throws(() => file.decodeChunk(index), code("range"));
assert.throws(() => file.segment(file.nSegments), code("limit"));
await assert.rejects(SanFile.open(bytes, { models }), TypeError);
const without = await SanFile.open(bytes, { zstd, models });
assert.throws(() => without.decodeChunk(0), code("model"));
const small = await SanFile.open(bytes, { zstd, models, priors, memoryLimit: 300_000 });
assert.throws(() => small.decodeChunk(0), code("memory"));
assert.equal(file.chunkLength(file.nChunks - 1), file.nFrames - (file.nChunks - 1) * file.chunkFrames);
console.log("all is well");
