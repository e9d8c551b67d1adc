/** A long answer of lines, read from the database no faster than the client takes it. */
import type { Log } from './services.ts';

export interface LineStreamOptions {
  /** Aborts when the server closes. */
  readonly server: AbortSignal;
  /** Whether the key still works: asked between lines, at most each second. */
  isAllowed(): Promise<boolean>;
  /** Breaks the connection off. */
  readonly hangUp: (() => void) | undefined;
  readonly log: Log;
}

/** Lines are joined into chunks of about this many characters. */
const CHUNK = 64 * 1024;
const ASK_MS = 1000;

/** One that ends too early breaks off with an error: whoever reads must not take a part for the whole. */
export function lineStream(
  lines: AsyncGenerator<string>,
  { server, isAllowed, hangUp, log }: LineStreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let asked = performance.now();

  async function nextChunk(): Promise<{ readonly text: string; readonly done: boolean }> {
    let text = '';
    while (text.length < CHUNK) {
      if (server.aborted) throw new Error('the server closes');
      if (performance.now() - asked > ASK_MS) {
        if (!(await isAllowed())) throw new Error('the API key was revoked');
        asked = performance.now();
      }
      const { value, done } = await lines.next();
      if (done === true) return { text, done: true };
      text += value;
    }
    return { text, done: false };
  }

  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { text, done } = await nextChunk();
        if (text !== '') controller.enqueue(encoder.encode(text));
        if (done) controller.close();
      } catch (error) {
        log({ level: 'warn', message: 'an export broke off', error: (error as Error).message });
        await lines.return(undefined).catch(() => undefined);
        // An error alone would be written to the client, as if it were the last line, and to our stderr
        hangUp?.();
        if (hangUp === undefined) controller.error(error);
        else controller.close();
      }
    },
    async cancel() {
      await lines.return(undefined);
    },
  });
}
