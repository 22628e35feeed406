// Decodes files by examples/js, for test_js_decoder.py: on standard output a line of JSON for each file, { sha256: of each channel's
// samples, info, segments, events: of the last chunk } or { code, message }.

import { createHash } from "node:crypto";
import { SanError, SanFile } from "../../examples/js/san.js";
import { given, models, priors, read, zstd } from "./at_hand.mjs";
import { synthesiser } from "./synthesis.mjs";

async function decodeInSteps(file, synthesise) {
  const chunks = [];
  for (let i = 0; i < file.nChunks; i++) chunks.push(file.decodeChunkWith(i, synthesise)); // they queue
  return Promise.all(chunks);
}

async function decode(path) {
  const file = await SanFile.open(read(path), { zstd, models, priors });
  const chunks = given.how === "steps" ? await decodeInSteps(file, synthesiser(models))
    : Array.from({ length: file.nChunks }, (_, i) => file.decodeChunk(i));
  const sha256 = file.channels.map((_, channel) => {
    const hash = createHash("sha256");
    for (const rows of chunks) hash.update(new Uint8Array(rows[channel].buffer));
    return hash.digest("hex");
  });
  const segments = Array.from({ length: file.nSegments }, (_, i) => file.segment(i));
  return { sha256, info: file, segments, events: chunks.at(-1).events.map((starts) => [...starts]) };
}

for (const path of given.files) {
  let found;
  try {
    found = await decode(path);
  } catch (error) {
    if (!(error instanceof SanError)) throw error;
    found = { code: error.code, message: error.message };
  }
  console.log(JSON.stringify(found));
}
