// Puts the page together for any static server: node build.mjs [KITS [DIST]], by default kits and dist beside this file.
//
// KITS has the kit of each bank, KITS/<name>/decoder.onnx; one that is absent is made by `sancodec export <name>`.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const models = join(here, "../../sancodec/models");
const js = join(here, "../js");
const kits = resolve(process.argv[2] ?? join(here, "kits"));
const dist = resolve(process.argv[3] ?? join(here, "dist"));
const modules = join(here, "node_modules");

function decoderOf(name) {
  const path = join(kits, name, "decoder.onnx");
  if (existsSync(path)) return path;
  try {
    execFileSync("sancodec", ["export", name, "-o", join(kits, name)], { stdio: "inherit" });
  } catch (error) {
    console.error(`${path} is absent, and "sancodec export ${name}" did not make it: ${error.message}`);
    process.exit(1);
  }
  return path;
}

function copyBanks() {
  mkdirSync(join(dist, "banks"));
  const names = readdirSync(models).filter((each) => each.endsWith(".sanm")).map((each) => basename(each, ".sanm"));
  const banks = names.sort().map((name) => {
    const model = join(models, `${name}.sanm`);
    copyFileSync(model, join(dist, "banks", `${name}.sanm`));
    copyFileSync(decoderOf(name), join(dist, "banks", `${name}.onnx`));
    return { name, sha256: createHash("sha256").update(readFileSync(model)).digest("hex") };
  });
  writeFileSync(join(dist, "banks.json"), JSON.stringify(banks, null, 1));
}

function listSizes(folder, prefix = "") {
  for (const each of readdirSync(folder, { withFileTypes: true })) {
    if (each.isDirectory()) listSizes(join(folder, each.name), `${prefix}${each.name}/`);
    else console.log(`${String(statSync(join(folder, each.name)).size).padStart(10)}  ${prefix}${each.name}`);
  }
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await build({
  entryPoints: [join(here, "src/page.js"), join(here, "src/worker.js")],
  outdir: dist,
  bundle: true,
  minify: true,
  format: "esm",
  external: ["node:*"], // san.js imports them in Node only
  target: "es2022",
  legalComments: "eof",
});
for (const name of ["index.html", "style.css"]) copyFileSync(join(here, name), join(dist, name));
for (const name of ["residual.prior", "events.prior"]) copyFileSync(join(models, name), join(dist, name));
copyFileSync(join(js, "san.wasm"), join(dist, "san.wasm"));
copyFileSync(join(modules, "uplot/dist/uPlot.min.css"), join(dist, "uPlot.min.css"));
copyFileSync(join(modules, "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"), join(dist, "ort.wasm"));
copyBanks();
listSizes(dist);
