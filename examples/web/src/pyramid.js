// Samples of one channel with smallest and largest values of ever longer buckets: a picture of any length of signal is
// made of about two values for each of its columns.

const FINEST = 16;
const FACTOR = 4;
const LOWEST = -(2 ** 31);
const HIGHEST = 2 ** 31 - 1;

class Level {
  constructor(size, nSamples) {
    this.size = size; // samples in a bucket
    this.min = new Int32Array(Math.ceil(nSamples / size)).fill(HIGHEST); // min > max: no sample that is not missing
    this.max = new Int32Array(this.min.length).fill(LOWEST);
  }
}

export class Pyramid {
  constructor(nSamples, missing) {
    this.samples = new Int32Array(nSamples);
    this.missing = missing; // value of a missing sample, or null
    this.length = 0; // samples that have arrived
    this.nMissing = 0;
    this.min = HIGHEST;
    this.max = LOWEST;
    this.levels = [];
    for (let size = FINEST; size < nSamples; size *= FACTOR) this.levels.push(new Level(size, nSamples));
  }

  append(samples) {
    const begin = this.length;
    this.samples.set(samples, begin);
    this.length += samples.length;
    if (this.missing !== null) for (const value of samples) this.nMissing += value === this.missing;
    let finer = { size: 1, min: this.samples, max: this.samples };
    for (const level of this.levels) {
      this.#fill(level, finer, begin);
      finer = level;
    }
    const { min, max } = this.#range(begin, this.length);
    this.min = Math.min(this.min, min);
    this.max = Math.max(this.max, max);
  }

  // Buckets from the one of sample `begin` on, each from the buckets of the finer level.
  #fill(level, finer, begin) {
    const ratio = level.size / finer.size;
    const end = Math.ceil(this.length / finer.size);
    for (let bucket = Math.floor(begin / level.size); bucket * level.size < this.length; bucket++) {
      const range = this.#extremes(finer, bucket * ratio, Math.min((bucket + 1) * ratio, end));
      level.min[bucket] = range.min;
      level.max[bucket] = range.max;
    }
  }

  #extremes({ size, min, max }, begin, end) {
    let low = HIGHEST;
    let high = LOWEST;
    for (let i = begin; i < end; i++) {
      if (size === 1 && min[i] === this.missing) continue;
      if (min[i] < low) low = min[i];
      if (max[i] > high) high = max[i];
    }
    return { min: low, max: high };
  }

  #range(begin, end) {
    return this.#extremes({ size: 1, min: this.samples, max: this.samples }, begin, end);
  }

  /**
   * Samples `begin` to `end` (they need not be whole numbers) as a picture of `nColumns` columns needs them: each of them
   * where they are few, otherwise smallest and largest values of columns.
   *
   * @returns { column, at, low, high, min, max }: `at` counts samples; where samples are missing low > high; column is
   *   the samples in a column, or 0 for single samples, and then low equals high
   */
  picture(begin, end, nColumns) {
    const first = Math.max(0, Math.floor(begin) - 1);
    const last = Math.min(this.length, Math.ceil(end) + 2);
    const width = (end - begin) / nColumns;
    return width <= 2 ? this.#each(first, last) : this.#columns(first, last, width);
  }

  #each(first, last) {
    const picture = { column: 0, at: [], low: [], high: [], ...this.#range(first, last) };
    for (let i = first; i < last; i++) {
      const value = this.samples[i];
      picture.at.push(i);
      picture.low.push(value === this.missing ? HIGHEST : value);
      picture.high.push(value === this.missing ? LOWEST : value);
    }
    return picture;
  }

  #columns(first, last, width) {
    let level = { size: 1, min: this.samples, max: this.samples };
    for (const each of this.levels) if (each.size <= width) level = each;
    const buckets = Math.floor(width / level.size); // in a column
    const column = buckets * level.size; // columns begin at its multiples, so that they do not change while the view moves
    const end = Math.ceil(this.length / level.size);
    const picture = { column, at: [], low: [], high: [], min: HIGHEST, max: LOWEST };
    for (let i = Math.floor(first / column); i * column < last; i++) {
      const { min, max } = this.#extremes(level, i * buckets, Math.min((i + 1) * buckets, end));
      picture.at.push((i + 0.5) * column);
      picture.low.push(min);
      picture.high.push(max);
      if (min < picture.min) picture.min = min;
      if (max > picture.max) picture.max = max;
    }
    return picture;
  }
}
