// Colours of the canvases, from the style sheet, so that light and dark are chosen in one place.

const NAMES = ["ink", "muted", "line", "grid", "trace", "accent", "surface"];
const N_KERNEL_COLOURS = 8;
const dark = matchMedia("(prefers-color-scheme: dark)");

export const palette = {};

function read() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) palette[name] = style.getPropertyValue(`--${name}`).trim();
  palette.kernels = Array.from({ length: N_KERNEL_COLOURS }, (_, i) => style.getPropertyValue(`--kernel-${i}`).trim());
}

export const kernelColour = (number) => palette.kernels[number % N_KERNEL_COLOURS];

export function onPaletteChange(then) {
  dark.addEventListener("change", () => {
    read();
    then();
  });
}

read();
