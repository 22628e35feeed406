// The span of time that is shown, in seconds.

export class View {
  constructor(durationS, shortestS, onChange) {
    this.durationS = durationS;
    this.shortestS = Math.min(shortestS, durationS);
    this.onChange = onChange;
    this.from = 0;
    this.to = durationS;
  }

  get spanS() {
    return this.to - this.from;
  }

  set(from, span) {
    const spanS = Math.min(Math.max(span, this.shortestS), this.durationS);
    this.from = Math.min(Math.max(from, 0), this.durationS - spanS);
    this.to = this.from + spanS;
    this.onChange();
  }

  pan(seconds) {
    this.set(this.from + seconds, this.spanS);
  }

  /** Makes the span `factor` times as long; the time `at` stays where it is. */
  zoom(factor, at = (this.from + this.to) / 2) {
    const span = Math.min(Math.max(this.spanS * factor, this.shortestS), this.durationS);
    this.set(at - ((at - this.from) * span) / this.spanS, span);
  }
}
