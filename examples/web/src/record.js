// What the page knows of the opened file: channels, samples as far as they arrived, beats.

import { Pyramid } from "./pyramid.js";

const LOWEST = -(2 ** 31);

export class Record {
  constructor(name, described) {
    Object.assign(this, described); // what the worker says, see recordOf in worker.js
    this.name = name;
    this.durationS = this.nFrames / this.frameRateHz;
    this.nFramesDone = 0;
    this.nChunksDone = 0;
    this.lost = []; // chunks that could not be decoded: { index, frames, message }
    this.channels = described.channels.map((each, i) => {
      const measured = this.segments.map(({ channels }) => channels[i]); // as the encoder did, for each segment
      return new Channel({ ...each, measured: largest(measured) }, this.nFrames);
    });
  }

  get doneS() {
    return this.nFramesDone / this.frameRateHz;
  }

  append({ index, samples, events, beats }) {
    samples.forEach((each, i) => {
      this.channels[i].countEvents(events[i]);
      this.channels[i].pyramid.append(each);
    });
    for (const { channel, ...found } of beats) this.channels[channel].addBeats(found);
    this.#passed(index, samples[0].length / this.channels[0].samplesPerFrame);
    this.nChunksDone++;
  }

  /** A chunk that could not be decoded is a gap. */
  skip(lost) {
    this.lost.push(lost);
    for (const each of this.channels) {
      each.pyramid.append(new Int32Array(lost.frames * each.samplesPerFrame).fill(each.pyramid.missing));
    }
    this.#passed(lost.index, lost.frames);
  }

  #passed(index, frames) {
    this.nFramesDone = index * this.chunkFrames + frames;
  }
}

const largest = (measured) => ({
  prdn: Math.max(...measured.map(({ prdn }) => prdn)),
  error: Math.max(...measured.map(({ largestError }) => largestError)),
});

class Channel {
  constructor(described, nFrames) {
    Object.assign(this, described);
    this.hasMissing = this.missing !== null && this.missing !== undefined;
    const gap = this.hasMissing ? this.missing : this.minimum > LOWEST ? this.minimum - 1 : this.maximum + 1;
    this.pyramid = new Pyramid(nFrames * this.samplesPerFrame, gap);
    this.kernels = []; // { number, peak, weights, nBeats, gains }
    this.beats = { at: [], kernel: [] }; // those that a kernel of this channel describes
    this.nEvents = 0; // beats of its lead group
    this.lastEvent = -Infinity;
  }

  physical(stored) {
    return (stored - this.baseline) / this.gain;
  }

  /** Starts of beats, relative to the next sample; one that reaches into two chunks is in both. */
  countEvents(starts) {
    for (const start of starts) {
      const sample = this.pyramid.length + start;
      if (sample > this.lastEvent) this.nEvents++;
      this.lastEvent = Math.max(this.lastEvent, sample);
    }
  }

  addBeats({ at, kernel, gain, kernels }) {
    for (const each of kernels) this.kernels.push({ ...each, gains: [] });
    for (let i = 0; i < at.length; i++) {
      this.beats.at.push(at[i]);
      this.beats.kernel.push(kernel[i]);
      this.kernels[kernel[i]].gains.push(gain[i]);
    }
  }

  /** SHA-256 of the samples as little-endian int32, in hexadecimal. */
  async digest() {
    if (!globalThis.crypto?.subtle) return null; // pages served without https, but from this machine
    const hash = await crypto.subtle.digest("SHA-256", this.pyramid.samples);
    return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
}
