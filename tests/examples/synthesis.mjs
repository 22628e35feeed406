// Section 10 of docs/format.md by plain loops, from the inputs of decoder.onnx: for the tests of san.js.

import { createHash } from "node:crypto";

/** Groups of a model (section 4). */
function groupsOf(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  let at = 12 + view.getUint32(8, true);
  return Array.from({ length: view.getUint16(6, true) }, () => {
    const [stride, nKernels, length] = [view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
    const offset = view.getInt32(at + 8, true);
    const weights = Array.from({ length: nKernels * length }, (_, i) => view.getInt32(at + 12 + 4 * i, true));
    at += 12 + 4 * weights.length;
    return { stride, nKernels, length, offset, weights };
  });
}

export function synthesiser(models) {
  const known = new Map(models.map((content) => [createHash("sha256").update(content).digest("hex"), groupsOf(content)]));
  return async ({ sha256, channels, nSamples, inputs, output }) => {
    const groups = known.get(sha256);
    const data = Object.fromEntries(Object.entries(inputs).map(([name, { type, data, dims }]) => {
      const kind = { int32: Int32Array, int64: BigInt64Array, float64: Float64Array }[type];
      if (!(data instanceof kind) || data.length !== dims.reduce((n, each) => n * each, 1)) throw new Error(`input ${name}`);
      return [name, type === "int64" ? Array.from(data, Number) : data];
    }));
    if (data.n_samples[0] !== nSamples) throw new Error("input n_samples");
    const circle = Math.ceil((nSamples + 64) / groups[0].stride) * groups[0].stride;
    const isWide = output === "components";
    const result = new (isWide ? BigInt64Array : Int32Array)(channels.length * nSamples);
    const beatLength = inputs.beat_kernels.dims[1];
    for (let signal = 0; signal < channels.length; signal++) {
      const sums = new Float64Array(circle);
      groups.forEach(({ stride, nKernels, length, offset, weights }, g) => {
        const nWindows = circle / stride;
        data[`level_index_${g}`].forEach((place, i) => {
          const [kernel, row] = [place % nKernels, Math.floor(place / nKernels)];
          if (Math.floor(row / nWindows) !== signal) return;
          const level = data[`level_${g}`][i];
          const magnitude = 128 * Math.abs(level) - data.reconstruction[3 * signal + Math.min(Math.abs(level), 3) - 1];
          for (let j = 0; j < length; j++) {
            const n = (((stride * (row % nWindows) + offset + j) % circle) + circle) % circle;
            sums[n] += Math.sign(level) * magnitude * weights[kernel * length + j];
          }
        });
      });
      const beats = new Float64Array(nSamples);
      data.event_signal.forEach((of, i) => {
        for (let j = 0; of === signal && j < beatLength; j++) {
          const n = data.event_start[i] + j;
          if (n >= 0 && n < nSamples) beats[n] += data.event_gain[i] * data.beat_kernels[data.event_kernel[i] * beatLength + j];
        }
      });
      for (let n = 0; n < nSamples; n++) {
        const f = Math.floor(Math.floor((sums[n] + 512) / 1024) * data.scale[signal] + 0.5);
        const y = f + beats[n] * data.beat_scale[signal];
        const value = data.offset[signal] + Math.floor((y + 512) / 1024);
        const within = Math.min(Math.max(value, data.minimum[signal]), data.maximum[signal]);
        result[signal * nSamples + n] = isWide ? BigInt(y) : within;
      }
    }
    return result;
  };
}
