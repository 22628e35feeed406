// Wheel, mouse, fingers and keys become movements of the view.

const KEYS = {
  ArrowLeft: (view) => view.pan(-0.1 * view.spanS),
  ArrowRight: (view) => view.pan(0.1 * view.spanS),
  PageUp: (view) => view.pan(-0.9 * view.spanS),
  PageDown: (view) => view.pan(0.9 * view.spanS),
  Home: (view) => view.set(0, view.spanS),
  End: (view) => view.set(view.durationS, view.spanS),
  "+": (view) => view.zoom(1 / 1.5),
  "-": (view) => view.zoom(1.5),
  0: (view) => view.set(0, view.durationS),
};

/**
 * @param element takes the gestures
 * @param getView () => View
 * @param getArea () => { left, width } of the plots on the page, in CSS pixels
 */
export function listen(element, getView, getArea) {
  const pointers = new Map(); // pointer → x
  const timeAt = (x) => {
    const { left, width } = getArea();
    return getView().from + ((x - left) / width) * getView().spanS;
  };

  element.addEventListener(
    "wheel",
    (event) => {
      if (event.clientX < getArea().left) return; // over the scale the page scrolls
      event.preventDefault();
      const pixels = event.deltaMode === 1 ? 16 : 1;
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        getView().pan((sideways * pixels * getView().spanS) / getArea().width);
      } else {
        const most = event.ctrlKey ? 60 : 240; // a pinch on a touchpad comes as ctrl and small steps
        const steps = Math.max(-most, Math.min(event.deltaY * pixels * (event.ctrlKey ? 4 : 1), most));
        getView().zoom(Math.exp(steps * 0.002), timeAt(event.clientX));
      }
    },
    { passive: false },
  );

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.clientX < getArea().left) return;
    pointers.set(event.pointerId, event.clientX);
    element.setPointerCapture(event.pointerId);
    element.classList.add("is-held");
  });
  element.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const view = getView();
    const { width } = getArea();
    const before = [...pointers.values()];
    pointers.set(event.pointerId, event.clientX);
    const after = [...pointers.values()];
    if (before.length === 1) return view.pan(((before[0] - after[0]) * view.spanS) / width);
    const apart = ([a, b]) => Math.max(Math.abs(a - b), 8);
    const middle = ([a, b]) => (a + b) / 2;
    view.pan(((middle(before) - middle(after)) * view.spanS) / width);
    view.zoom(apart(before) / apart(after), timeAt(middle(after)));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) element.classList.remove("is-held");
    });
  }

  element.addEventListener("dblclick", (event) => getView().zoom(0.5, timeAt(event.clientX)));
  element.addEventListener("keydown", (event) => {
    const move = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key === "=" ? "+" : event.key];
    if (!move) return;
    event.preventDefault();
    move(getView());
  });
}
