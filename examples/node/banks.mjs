// The banks that are at hand: models of the package, decoder.onnx of kits.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";

export class Banks {
  /**
   * @param models folder of .sanm files, and of residual.prior and events.prior
   * @param kits folder of kits, KITS/<name>/decoder.onnx
   */
  constructor(models, kits) {
    this.models = models;
    this.kits = kits;
  }

  async priors() {
    const [residual, events] = await Promise.all(["residual", "events"].map((each) => this.#bytes(`${each}.prior`)));
    return { residual, events };
  }

  async #bytes(name) {
    return new Uint8Array(await readFile(join(this.models, name)));
  }

  /** Name and content of the model of this SHA-256, or undefined. */
  async #find(sha256) {
    for (const file of await readdir(this.models)) {
      if (!file.endsWith(".sanm")) continue;
      const content = await this.#bytes(file);
      if (createHash("sha256").update(content).digest("hex") === sha256) return { name: basename(file, ".sanm"), content };
    }
  }

  /** The .sanm file of this SHA-256, or undefined: for SanFile.open. */
  async model(sha256) {
    return (await this.#find(sha256))?.content;
  }

  /** The decoder.onnx of this SHA-256, or undefined: for Synthesis. */
  async decoder(sha256) {
    const bank = await this.#find(sha256);
    if (!bank) return undefined;
    const path = join(this.kits, bank.name, "decoder.onnx");
    if (!existsSync(path)) throw new Error(`${path} is absent; make it: sancodec export ${bank.name} -o ${join(this.kits, bank.name)}`);
    return new Uint8Array(await readFile(path));
  }
}
