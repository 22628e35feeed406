// What a plot shows of a lead: a line, or bars where there is much of it, and ticks of beats.

import { kernelColour, palette } from "./palette.js";

export const LINE_WIDTH = 1.25;
const TICK_HEIGHT = 9;
const BAR_SAMPLES = 8; // in a column from which on bars are drawn: long lines up and down take a renderer long

export const isOfBars = ({ column }) => column >= BAR_SAMPLES;

/** Times and values of a line; of a column the smallest and the largest value, first the one nearer to the value before. */
export function lineOf({ column, at, low, high }, channel) {
  const [times, values] = [[], []];
  let before = 0;
  const push = (i, stored) => {
    times.push(at[i] / channel.samplingRateHz);
    values.push(stored === null ? null : channel.physical(stored));
    before = stored ?? before;
  };
  for (let i = 0; i < at.length; i++) {
    if (low[i] > high[i]) push(i, null);
    else if (column === 0) push(i, low[i]);
    else {
      const isUp = Math.abs(before - low[i]) < Math.abs(before - high[i]);
      push(i, isUp ? low[i] : high[i]);
      push(i, isUp ? high[i] : low[i]);
    }
  }
  return [times, values];
}

/** What uPlot does not draw: bars and beats. */
export function drawOver(plot, { channel, picture }) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  if (picture && isOfBars(picture)) drawBars(plot, channel, picture);
  drawBeats(plot, channel);
  ctx.restore();
}

// A bar for each column, long enough to meet the one before.
function drawBars(plot, channel, { column, at, low, high }) {
  const { ctx } = plot;
  const x = (sample) => Math.floor(plot.valToPos(sample / channel.samplingRateHz, "x", true));
  const thickness = LINE_WIDTH * devicePixelRatio;
  ctx.fillStyle = palette.trace;
  let before = null;
  for (let i = 0; i < at.length; i++) {
    if (low[i] > high[i]) {
      before = null;
      continue;
    }
    const from = before ? Math.min(low[i], before.high) : low[i];
    const to = before ? Math.max(high[i], before.low) : high[i];
    before = { low: low[i], high: high[i] };
    const [a, b] = [from, to].map((stored) => plot.valToPos(channel.physical(stored), "y", true));
    const left = x(at[i] - column / 2);
    const top = Math.round(Math.min(a, b) - thickness / 2);
    const right = Math.max(x(at[i] + column / 2), left + 1);
    ctx.fillRect(left, top, right - left, Math.max(Math.round(Math.abs(a - b) + thickness), 1));
  }
}

// A tick for each beat, in the colour of its kernel.
function drawBeats(plot, channel) {
  const { at, kernel } = channel.beats;
  const { ctx, bbox } = plot;
  const { min, max } = plot.scales.x;
  const perSecond = bbox.width / (max - min);
  const rate = channel.samplingRateHz;
  const width = Math.round(1.5 * devicePixelRatio);
  let last = -1;
  for (let i = firstAtOrAfter(at, min * rate); i < at.length && at[i] <= max * rate; i++) {
    const x = Math.round(bbox.left + (at[i] / rate - min) * perSecond);
    if (x === last) continue;
    last = x;
    ctx.fillStyle = kernelColour(kernel[i]);
    ctx.fillRect(x, bbox.top, width, TICK_HEIGHT * devicePixelRatio);
  }
}

function firstAtOrAfter(at, sample) {
  let low = 0;
  let high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] < sample) low = middle + 1;
    else high = middle;
  }
  return low;
}
