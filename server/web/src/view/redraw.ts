// Gathers changes into one redraw per frame: a thousand messages in one burst are not drawn a
// thousand times. A hidden page gets no frames, so a timer stands in.

const HIDDEN_FRAME_MS = 200;

export function oncePerFrame(redraw: () => void): { request(): void; cancel(): void } {
  let frame: number | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const cancel = () => {
    if (frame !== undefined) cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = undefined;
    timer = undefined;
  };
  const run = () => {
    cancel();
    redraw();
  };
  const request = () => {
    if (timer !== undefined) return;
    frame = requestAnimationFrame(run);
    timer = setTimeout(run, HIDDEN_FRAME_MS);
  };
  return { request, cancel };
}
