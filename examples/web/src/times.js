// Times of the axis and numbers of the report as text.

const DIGITS = new Intl.NumberFormat("en");

/** `seconds` as [h:]mm:ss, with as many decimals as a step of `step` seconds needs. */
export function clock(seconds, step = 1) {
  const decimals = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step) - 1e-9));
  const ticks = Math.round(seconds * 10 ** decimals);
  const whole = Math.floor(ticks / 10 ** decimals);
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const text = hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  return decimals ? `${text}.${String(ticks % 10 ** decimals).padStart(decimals, "0")}` : text;
}

export const count = (value) => DIGITS.format(value);

export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** `value` with so many significant figures, without trailing zeros. */
export function figure(value, figures = 3) {
  if (!Number.isFinite(value)) return "∞";
  return String(Number(value.toPrecision(figures)));
}
