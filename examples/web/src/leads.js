// The leads one below the other, each a plot of uPlot that is given only what its columns can show.

import uPlot from "uplot";
import { drawOver, isOfBars, LINE_WIDTH, lineOf } from "./drawing.js";
import { palette } from "./palette.js";
import { clock, figure } from "./times.js";

const STEPS_S = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900]
  .concat([1, 2, 3, 6, 12, 24].map((hours) => hours * 3600));
const TIME_AXIS_HEIGHT = 26;
const SCALE_WIDTH = 48;
const LABEL_HEIGHT = 18;
const POINTS_APART = 6; // pixels from which single samples are marked

export class Leads {
  constructor(container) {
    this.container = container;
    this.leads = [];
    this.fitsRecord = false;
    this.drawMs = 0; // time that the last frame took
    this.pending = 0;
    new ResizeObserver(() => this.#resize()).observe(container);
    this.seen = new IntersectionObserver((entries) => this.#see(entries), { rootMargin: "100px" });
  }

  show(record, view) {
    this.seen.disconnect();
    for (const each of this.leads) each.plot.destroy();
    this.container.replaceChildren();
    this.view = view;
    this.leads = record.channels.map((channel, i) => this.#lead(channel, i === record.channels.length - 1));
    for (const { box } of this.leads) this.seen.observe(box);
    this.#resize();
  }

  #see(entries) {
    for (const { target, isIntersecting } of entries) {
      const lead = this.leads.find(({ box }) => box === target);
      if (lead) lead.isSeen = isIntersecting;
    }
    this.draw();
  }

  /** Left edge and width of the plots on the page. */
  area() {
    const rect = this.leads[0].plot.over.getBoundingClientRect();
    return { left: rect.left, width: rect.width };
  }

  /** Draws the leads on the screen before the next frame, once, however often it is asked. */
  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      const begin = performance.now();
      for (const each of this.leads) if (each.isSeen) this.#drawLead(each);
      this.drawMs = performance.now() - begin;
    });
  }

  fit(whole) {
    this.fitsRecord = whole;
    for (const each of this.leads) each.height = null;
    this.draw();
  }

  #lead(channel, isLast) {
    const box = document.createElement("div");
    box.className = "lead";
    const label = document.createElement("div");
    label.className = "lead-label";
    const name = document.createElement("b");
    name.textContent = channel.name || "(no name)";
    const value = document.createElement("span");
    label.append(name, value);
    box.append(label);
    this.container.append(box);
    const lead = { channel, isLast, box, value, isSeen: true, height: null, picture: null };
    value.textContent = channel.unit;
    lead.plot = new uPlot(this.#options(lead), [[], []], box);
    return lead;
  }

  #options(lead) {
    const axis = { stroke: () => palette.muted, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const grid = { stroke: () => palette.grid, width: 1 };
    return {
      width: 300,
      height: 120,
      padding: [LABEL_HEIGHT, 26, lead.isLast ? 0 : 8, 0],
      legend: { show: false },
      scales: { x: { time: false }, y: {} },
      series: [
        {},
        {
          stroke: () => palette.trace,
          width: LINE_WIDTH,
          spanGaps: false,
          points: { show: (plot) => this.#areSamplesApart(plot, lead), size: 4, fill: () => palette.trace },
        },
      ],
      axes: [
        {
          ...axis,
          grid,
          incrs: STEPS_S,
          space: 70,
          size: lead.isLast ? TIME_AXIS_HEIGHT : 0,
          values: (_, splits, __, ___, step) => splits.map((each) => (lead.isLast ? clock(each, step) : "")),
        },
        { ...axis, grid, space: 28, size: SCALE_WIDTH, gap: 4 },
      ],
      cursor: {
        sync: { key: "leads" },
        y: false,
        points: { show: false },
        drag: { x: false, y: false, setScale: false },
        bind: { dblclick: () => null }, // gestures.js has it
      },
      hooks: { setCursor: [(plot) => this.#tell(plot, lead)], draw: [(plot) => drawOver(plot, lead)] },
    };
  }

  #areSamplesApart(plot, lead) {
    return lead.picture?.column === 0 && this.view.spanS * lead.channel.samplingRateHz * POINTS_APART < plot.over.clientWidth;
  }

  #drawLead(lead) {
    const { channel, plot } = lead;
    const rate = channel.samplingRateHz;
    const { from, to } = this.view;
    lead.picture = channel.pyramid.picture(from * rate, to * rate, Math.max(plot.over.clientWidth, 1));
    this.#setHeight(lead, this.fitsRecord ? channel.pyramid : lead.picture);
    plot.batch(() => {
      plot.setData(isOfBars(lead.picture) ? [[from, to], [null, null]] : lineOf(lead.picture, channel), false);
      plot.setScale("x", { min: from, max: to });
      plot.setScale("y", lead.height ?? { min: -1, max: 1 });
    });
  }

  // Grows with the signal, and shrinks when less than half is used, so that it keeps still while the view moves.
  #setHeight(lead, { min, max }) {
    if (min > max) return;
    const ends = [lead.channel.physical(min), lead.channel.physical(max)].sort((a, b) => a - b);
    const least = 16 / Math.abs(lead.channel.gain);
    const span = Math.max(ends[1] - ends[0], least);
    const now = lead.height;
    if (now && ends[0] >= now.min && ends[1] <= now.max && span > 0.45 * (now.max - now.min)) return;
    const middle = (ends[0] + ends[1]) / 2;
    lead.height = { min: middle - 0.58 * span, max: middle + 0.66 * span }; // more above, for ticks and label
  }

  #tell(plot, lead) {
    const { channel } = lead;
    const { left } = plot.cursor;
    let text = channel.unit;
    if (left >= 0) {
      const time = plot.posToVal(left, "x");
      const sample = Math.round(time * channel.samplingRateHz);
      const stored = channel.pyramid.samples[sample];
      const isThere = sample >= 0 && sample < channel.pyramid.length && stored !== channel.pyramid.missing;
      text = `${isThere ? figure(channel.physical(stored)) : "–"} ${channel.unit} at ${clock(time, 0.001)}`;
    }
    if (lead.value.textContent !== text) lead.value.textContent = text;
  }

  #resize() {
    if (!this.leads.length) return;
    const width = Math.floor(this.container.clientWidth);
    const room = Math.max(window.innerHeight - 330, 240) / this.leads.length;
    const height = Math.round(Math.max(84, Math.min(room, 240)));
    for (const { plot, isLast } of this.leads) plot.setSize({ width, height: height + (isLast ? TIME_AXIS_HEIGHT - 8 : 0) });
    this.draw();
  }
}
