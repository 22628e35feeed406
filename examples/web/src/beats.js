// Beats and their kernels, from what san.js asks synthesis for: the events of decoder.onnx.

/** Gathers the beats of the chunks of a file, in order; an event whose window reaches into two chunks is in both. */
export class BeatReader {
  constructor(nChannels) {
    this.kernels = Array.from({ length: nChannels }, () => new Map()); // of each channel: weights as text → number
    this.lastStart = new Array(nChannels).fill(-Infinity);
  }

  /**
   * @param request of SanFile.decodeChunkWith
   * @param firstSample (channel) => number of the chunk's first sample in that channel
   * @returns one object for each channel with events: { channel, at, kernel, gain, kernels }: at is the sample of the
   *   kernel's largest weight, kernels are those not met before, { number, weights } in stored units for gain 1
   */
  read({ channels, inputs }, firstSample) {
    const [nKernels, length] = inputs.beat_kernels.dims;
    const signals = channels.map((channel) => ({ channel, at: [], kernel: [], gain: [], kernels: [], known: new Map() }));
    for (let i = 0; i < inputs.event_signal.data.length; i++) {
      const signal = Number(inputs.event_signal.data[i]);
      const row = Number(inputs.event_kernel.data[i]);
      if (row >= nKernels) continue;
      const found = signals[signal];
      if (!found.known.has(row)) {
        const scale = Number(inputs.beat_scale.data[signal]) / 1024;
        found.known.set(row, this.#kernel(found, inputs.beat_kernels.data.slice(row * length, (row + 1) * length), scale));
      }
      const { number, peak } = found.known.get(row);
      const start = firstSample(found.channel) + Number(inputs.event_start.data[i]);
      if (start <= this.lastStart[found.channel]) continue;
      this.lastStart[found.channel] = start;
      found.at.push(start + peak);
      found.kernel.push(number);
      found.gain.push(inputs.event_gain.data[i]);
    }
    return signals.filter((each) => each.at.length || each.kernels.length).map(({ known, ...rest }) => rest);
  }

  #kernel(found, weights, scale) {
    const known = this.kernels[found.channel];
    const text = `${scale}:${weights.join()}`;
    if (!known.has(text)) {
      let peak = 0;
      for (let i = 1; i < weights.length; i++) if (Math.abs(weights[i]) > Math.abs(weights[peak])) peak = i;
      known.set(text, { number: known.size, peak });
      found.kernels.push({ number: known.get(text).number, peak, weights: Float64Array.from(weights, (each) => each * scale) });
    }
    return known.get(text);
  }
}
