// Where decoded samples go: little-endian int32 in one file, frame after frame, or in one file for each channel. Files are
// written beside their places and renamed when all is decoded.

import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** A frame holds, for each channel in order, its samples per frame. */
function interleaved(rows, channels) {
  const frameLength = channels.reduce((sum, { samplesPerFrame }) => sum + samplesPerFrame, 0);
  const nFrames = rows[0].length / channels[0].samplesPerFrame;
  const frames = new Int32Array(nFrames * frameLength);
  let first = 0;
  channels.forEach(({ samplesPerFrame }, c) => {
    for (let frame = 0; frame < nFrames; frame++) {
      const row = rows[c].subarray(frame * samplesPerFrame, (frame + 1) * samplesPerFrame);
      frames.set(row, frame * frameLength + first);
    }
    first += samplesPerFrame;
  });
  return frames;
}

const fileName = (name, c) => `${String(c).padStart(2, "0")}_${name.replace(/[^\w-]+/g, "_")}.i32`;

export class Output {
  #channels;
  #paths;
  #files = [];

  constructor(channels, paths) {
    this.#channels = channels;
    this.#paths = paths;
  }

  static async inOneFile(path, channels) {
    return new Output(channels, [path]).#open();
  }

  static async inFolder(folder, channels) {
    await mkdir(folder, { recursive: true });
    return new Output(channels, channels.map(({ name }, c) => join(folder, fileName(name, c)))).#open();
  }

  async #open() {
    for (const path of this.#paths) this.#files.push(await open(`${path}.part`, "w"));
    return this;
  }

  async write(rows) {
    const parts = this.#files.length === 1 ? [interleaved(rows, this.#channels)] : rows;
    await Promise.all(parts.map((part, i) => this.#files[i].appendFile(littleEndian(part))));
  }

  async finish() {
    await Promise.all(this.#files.map((file) => file.close()));
    for (const path of this.#paths) await rename(`${path}.part`, path);
    return this.#paths;
  }

  async discard() {
    await Promise.allSettled(this.#files.map((file) => file.close()));
    for (const path of this.#paths) await rm(`${path}.part`, { force: true });
  }
}

/** Bytes of the samples, swapped on the few machines that are not little-endian. */
export function littleEndian(samples) {
  const bytes = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
  const isLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  return isLittle ? bytes : Buffer.from(bytes).swap32();
}
