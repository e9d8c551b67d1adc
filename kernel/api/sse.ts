import type { Engine } from '../engine/index.ts';

/** Proxies cut lines that stay silent; a comment keeps them open. */
const KEEP_ALIVE_MS = 15_000;

/** A run's events as a stream of server-sent events; it ends after the run's last one, or when the reader leaves. */
export function streamRun(engine: Engine, runId: string, afterId: string | undefined, signal: AbortSignal): Response {
  const left = new AbortController();
  const events = engine.tailRun(runId, { afterId, signal: AbortSignal.any([signal, left.signal]) })[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  let keepAlive: NodeJS.Timeout | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(encoder.encode(': open\n\n'));
      keepAlive = setInterval(() => controller.enqueue(encoder.encode(': keep-alive\n\n')), KEEP_ALIVE_MS);
    },
    async pull(controller) {
      try {
        const next = await events.next();
        if (next.done === true) {
          clearInterval(keepAlive);
          controller.close();
          return;
        }
        const { id, event, data } = next.value;
        controller.enqueue(encoder.encode(`${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
      } catch (error) {
        clearInterval(keepAlive);
        controller.error(error);
      }
    },
    cancel() {
      clearInterval(keepAlive);
      left.abort();
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' } });
}
