// What the scripts of this folder are given on standard input, as JSON: { files, models, priors, frames, how }.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as zlib from "node:zlib";

export const given = JSON.parse(readFileSync(0, "utf8"));
export const read = (path) => new Uint8Array(readFileSync(path));
export const models = given.models.map(read);
export const priors = { residual: read(given.priors.residual), events: read(given.priors.events) };
export const zstd = zstdAtHand();

/** Node's own, fzstd where an example has it installed, or the frames that the test found. */
function zstdAtHand() {
  if (zlib.zstdDecompressSync) return (frame) => zlib.zstdDecompressSync(frame);
  for (const name of ["node", "web"]) {
    try {
      const { decompress } = createRequire(new URL(`../../examples/${name}/`, import.meta.url))("fzstd");
      return (frame, size) => decompress(frame, new Uint8Array(size));
    } catch {
      continue;
    }
  }
  return (frame) => Buffer.from(given.frames[Buffer.from(frame).toString("base64")], "base64");
}
