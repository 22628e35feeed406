#!/usr/bin/env node
// Decodes a .san file: node decode.mjs FILE.san [OUT] [--kits DIR] [--models DIR]
//
// OUT gets the stored integers as little-endian int32: a file gets them frame by frame, a folder (one that exists, or a name
// that ends in /) gets a file for each channel. Without OUT the file is checked, and the SHA-256 of each channel printed.

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as fzstd from "fzstd";
import * as ort from "onnxruntime-node";
import { SanFile } from "../js/san.js";
import { Synthesis } from "../web/src/synthesis.js";
import { Banks } from "./banks.mjs";
import { littleEndian, Output } from "./output.mjs";

const beside = (path) => fileURLToPath(new URL(path, import.meta.url));
const USAGE = "usage: node decode.mjs FILE.san [OUT] [--kits DIR] [--models DIR]";

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        kits: { type: "string", default: beside("kits") },
        models: { type: "string", default: beside("../../sancodec/models") },
      },
    });
    if (positionals.length < 1 || positionals.length > 2) throw new Error("one file, and where it goes");
    return { ...values, input: positionals[0], out: positionals[1] };
  } catch (error) {
    process.stderr.write(`${error.message}\n${USAGE}\n`);
    process.exit(2);
  }
}

async function openOutput(out, channels) {
  if (!out) return null;
  const isFolder = /[/\\]$/.test(out) || (await stat(out).then((found) => found.isDirectory(), () => false));
  return isFolder ? Output.inFolder(out, channels) : Output.inOneFile(out, channels);
}

async function decode({ input, out, kits, models }) {
  const banks = new Banks(models, kits);
  const file = await SanFile.open(new Uint8Array(await readFile(input)), {
    zstd: (frame, size) => fzstd.decompress(frame, new Uint8Array(size)),
    models: (sha256) => banks.model(sha256),
    priors: await banks.priors(),
  });
  const synthesis = new Synthesis(ort, (sha256) => banks.decoder(sha256));
  const hashes = file.channels.map(() => createHash("sha256"));
  const output = await openOutput(out, file.channels);
  try {
    for (let chunk = 0; chunk < file.nChunks; chunk++) {
      const rows = await file.decodeChunkWith(chunk, (request) => synthesis.run(request));
      rows.forEach((row, c) => hashes[c].update(littleEndian(row)));
      await output?.write(rows);
    }
    const paths = (await output?.finish()) ?? [];
    file.channels.forEach(({ name, unit, gain, baseline, samplesPerFrame }, c) => {
      const nSamples = file.nFrames * samplesPerFrame;
      console.log(`${hashes[c].digest("hex")}  ${name}: ${nSamples} samples, ${unit}, gain ${gain}, baseline ${baseline}`);
    });
    for (const path of paths) console.log(`-> ${path}`);
  } catch (error) {
    await output?.discard();
    throw error;
  }
}

const given = options();
try {
  await decode(given);
} catch (error) {
  process.stderr.write(`${given.input}: ${error.message.replace(/\s+/g, " ").trim()}\n`);
  process.exitCode = 1;
}
