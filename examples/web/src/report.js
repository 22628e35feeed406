// What the file promises, what was measured, and the beat kernels. Text of a file is only ever set as text.

import { kernelColour } from "./palette.js";
import { clock, count, counted, figure } from "./times.js";

const CODERS = ["zstd tokens", "class coder", "mixing coder"];
const PICTURE = { width: 120, height: 64, margin: 4 };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Figures of the whole file: text of each by its label. */
export function fileFigures(record, ms) {
  const nSamples = record.channels.reduce((sum, each) => sum + each.pyramid.samples.length, 0);
  const storedBits = record.channels.reduce((sum, each) => sum + each.pyramid.samples.length * each.resolutionBits, 0);
  const nBeats = Math.max(...record.channels.map((each) => each.nEvents));
  const figures = [
    ["length", `${clock(record.durationS, record.durationS < 60 ? 0.1 : 1)} at ${figureOfRate(record.frameRateHz)}`],
    ["size", `${count(record.nBytes)} bytes`],
    ["bits per sample", figure((8 * record.nBytes) / nSamples)],
    ["stored bits : file", `${figure(storedBits / (8 * record.nBytes))} : 1`],
  ];
  if (nBeats) figures.push(["beats", `${count(nBeats)} · ${figure((60 * nBeats) / record.doneS)}/min`]);
  figures.push(["digests verified", `${count(record.nChunksDone)} of ${counted(record.nChunks, "chunk")}`]);
  if (ms !== undefined) figures.push(["decoded in", `${figure(ms / 1000)} s`]);
  return figures;
}

const figureOfRate = (hz) => `${Number(hz.toFixed(3))} Hz`;

export function showFigures(list, record, ms) {
  const pairs = fileFigures(record, ms).map(([label, text]) => {
    return element("div", {}, element("dt", {}, label), element("dd", {}, text));
  });
  list.replaceChildren(...pairs);
}

function promiseText(channel) {
  const texts = channel.promises.map(({ kind, value }) => {
    if (kind === 1) return `PRDN ≤ ${figure(value)} %`;
    if (kind === 2 && value === 0) return "exact";
    if (kind === 2) return `error ≤ ${physicalText(value, channel)}`;
    return `kind ${kind}`;
  });
  return texts.join(", ") || "–";
}

function physicalText(stored, { gain, unit }) {
  const text = `${figure(stored / Math.abs(gain))} ${unit}`;
  return Math.abs(gain) === 1 ? text : `${text} (${figure(stored)} adu)`;
}

const COLUMNS = [
  ["lead", (channel) => channel.name],
  ["promised", promiseText],
  ["PRDN %", (channel) => figure(channel.measured.prdn, 4)],
  ["largest error", (channel) => (channel.measured.error ? physicalText(channel.measured.error, channel) : "0")],
  ["Hz", (channel) => String(Number(channel.samplingRateHz.toFixed(3)))],
  ["stored bits", (channel) => String(channel.resolutionBits)],
  ["beats", (channel) => count(channel.beats.at.length), (channel) => channel.beats.at.length],
  ["missing samples", (channel) => count(channel.pyramid.nMissing), (channel) => channel.hasMissing],
];

/** A row for each lead; columns that say nothing of any lead are left out. */
export function showChannels(table, record) {
  const { channels } = record;
  const columns = COLUMNS.filter(([, , isThere = () => true]) => channels.some(isThere));
  const head = element("tr", {}, ...columns.map(([label]) => element("th", { scope: "col" }, label)));
  const rows = channels.map((channel) => {
    const cells = columns.map(([, text, isThere = () => true]) => element("td", {}, isThere(channel) ? text(channel) : "–"));
    return element("tr", {}, ...cells);
  });
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

export function showKernels(container, record) {
  const rows = record.channels.filter((each) => each.kernels.length).map(kernelsOf);
  container.replaceChildren(...rows);
  container.closest("section").hidden = !rows.length;
}

function kernelsOf(channel) {
  const used = channel.kernels.filter((each) => each.gains.length);
  const pictures = used.map((kernel) => {
    const shape = kernel.weights.map((each) => (each * median(kernel.gains)) / channel.gain);
    const [low, high] = [Math.min(0, ...shape), Math.max(0, ...shape)];
    const nBeats = counted(kernel.gains.length, "beat");
    const picture = drawing(shape, low, high, kernelColour(kernel.number), `Kernel of ${nBeats}`);
    const size = element("small", {}, `${figure(high - low)} ${channel.unit}`);
    return element("figure", {}, picture, element("figcaption", {}, nBeats, size));
  });
  const width = used.length ? Math.round((1000 * used[0].weights.length) / channel.samplingRateHz) : 0;
  const title = element("h3", {}, channel.name || "(no name)", element("small", {}, `${width} ms wide`));
  return element("div", { class: "kernels" }, title, element("div", { class: "pictures" }, ...pictures));
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function drawing(shape, low, high, colour, title) {
  const { width, height, margin } = PICTURE;
  const span = high - low || 1;
  const x = (i) => margin + (i / Math.max(shape.length - 1, 1)) * (width - 2 * margin);
  const y = (value) => margin + ((high - value) / span) * (height - 2 * margin);
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const line = Array.from(shape, (value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  picture.append(
    svg("line", { x1: margin, x2: width - margin, y1: y(0), y2: y(0), class: "zero" }),
    svg("polyline", { points: line, fill: "none", stroke: colour, "stroke-width": 1.6, "stroke-linejoin": "round" }),
  );
  return picture;
}

/** Things to check against the package: coder, banks, digests of the samples. */
export function showDetails(list, record, digests) {
  const coders = [...new Set(record.segments.map(({ coder }) => CODERS[coder]))];
  const rows = [
    ["source", record.source],
    ["coder", `${coders.join(", ")}; level ${record.level}`],
    ["in the file", `${counted(record.nChunks, "chunk")} in ${counted(record.segments.length, "segment")}`],
  ];
  for (const sha256 of record.models) rows.push(["bank", sha256]);
  record.channels.forEach((each, i) => {
    if (digests[i]) rows.push([`samples of ${each.name || `channel ${i}`}`, digests[i]]);
  });
  list.replaceChildren(...rows.flatMap(([label, text]) => [element("dt", {}, label), element("dd", {}, text)]));
}
