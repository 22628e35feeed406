// Synthesis by decoder.onnx: what san.js asks for, onnxruntime answers. The page and examples/node share this file.

export class UnknownBankError extends Error {}

export class Synthesis {
  #ort;
  #load;
  #options;
  #sessions = new Map(); // sha256 → promise of a session

  /**
   * @param ort onnxruntime-web or onnxruntime-node
   * @param load async (sha256) => bytes of the decoder.onnx of that bank, or undefined if there is none
   * @param options of ort.InferenceSession.create
   */
  constructor(ort, load, options = {}) {
    this.#ort = ort;
    this.#load = load;
    this.#options = options;
  }

  /** The session of a bank, started once. */
  session(sha256) {
    if (!this.#sessions.has(sha256)) this.#sessions.set(sha256, this.#start(sha256));
    return this.#sessions.get(sha256);
  }

  async #start(sha256) {
    const decoder = await this.#load(sha256);
    if (!decoder) throw new UnknownBankError(`there is no decoder.onnx for its bank, SHA-256 ${sha256}`);
    return this.#ort.InferenceSession.create(decoder, this.#options);
  }

  /** What SanFile.decodeChunkWith takes: samples or components, (signal, sample), of one bank's channels in a chunk. */
  async run({ sha256, inputs, output }) {
    const session = await this.session(sha256);
    const feeds = {};
    for (const [name, { type, data, dims }] of Object.entries(inputs)) {
      feeds[name] = new this.#ort.Tensor(type, data, dims);
    }
    const outputs = await session.run(feeds, [output]);
    return outputs[output].data;
  }
}
