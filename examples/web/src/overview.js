// The whole record in a strip, with the view as a window that can be moved.

import { palette } from "./palette.js";

const HEIGHT = 44;

export class Overview {
  constructor(container) {
    this.container = container;
    this.canvas = container.querySelector("canvas");
    this.window = container.querySelector(".window");
    this.pending = 0;
    new ResizeObserver(() => this.draw()).observe(container);
    container.addEventListener("pointerdown", (event) => this.#grab(event));
  }

  show(record, view) {
    this.record = record;
    this.view = view;
    this.channel = record.channels.find((each) => each.beats.at.length) ?? record.channels[0];
    this.draw();
    this.move();
  }

  /** The window alone, which costs no drawing. */
  move() {
    const { from, spanS, durationS } = this.view;
    const width = this.container.clientWidth;
    const shown = Math.max((spanS / durationS) * width, 6);
    const left = Math.min((from / durationS) * width, width - shown);
    this.window.style.width = `${shown}px`;
    this.window.style.transform = `translateX(${left}px)`;
  }

  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      if (this.record) this.#draw();
    });
  }

  #draw() {
    const ratio = devicePixelRatio;
    const width = this.container.clientWidth;
    const { canvas, record } = this;
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.fillStyle = palette.grid;
    const done = (record.doneS / record.durationS) * width;
    ctx.fillRect(done, 0, width - done, HEIGHT);
    this.#drawLine(ctx, width);
    this.move();
  }

  #drawLine(ctx, width) {
    const { pyramid } = this.channel;
    const n = pyramid.samples.length;
    const { at, low, high } = pyramid.picture(0, n, width);
    const scale = (HEIGHT - 6) / Math.max(pyramid.max - pyramid.min, 1);
    ctx.fillStyle = palette.muted;
    for (let i = 0; i < at.length; i++) {
      if (low[i] > high[i]) continue;
      const above = this.channel.gain > 0 ? pyramid.max - high[i] : low[i] - pyramid.min;
      ctx.fillRect((at[i] / n) * width, 3 + scale * above, 1, Math.max(scale * (high[i] - low[i]), 1));
    }
  }

  #grab(event) {
    if (!this.view || event.button !== 0) return;
    const { left, width } = this.container.getBoundingClientRect();
    const timeAt = (x) => ((x - left) / width) * this.view.durationS;
    const at = timeAt(event.clientX);
    const isWithin = at >= this.view.from && at <= this.view.to;
    const held = isWithin ? at - this.view.from : this.view.spanS / 2;
    const follow = ({ clientX }) => this.view.set(timeAt(clientX) - held, this.view.spanS);
    this.container.setPointerCapture(event.pointerId);
    this.container.addEventListener("pointermove", follow);
    const release = () => this.container.removeEventListener("pointermove", follow);
    this.container.addEventListener("pointerup", release, { once: true });
    this.container.addEventListener("pointercancel", release, { once: true });
    follow(event);
  }
}
