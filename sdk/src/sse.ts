/** Reading of `text/event-stream`, as far as the API writes it. */

export interface ServerSentEvent {
  /** Null when the event has none: it is not durable and cannot be resumed from. */
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/**
 * Yields the events of a response body until it ends. Anything that arrives, comments included, counts as a sign
 * of life.
 *
 * @param idleMs how long the line may be silent; the server sends a comment every 15 s, so a longer silence means a
 *   connection that died without a word
 * @throws Error when the line is silent for `idleMs`, and whatever the body's stream throws
 */
export async function* readEvents(body: ReadableStream<Uint8Array>, idleMs: number): AsyncGenerator<ServerSentEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await within(reader.read(), idleMs);
      if (done) return;
      // A chunk may end between \r and \n: the \r waits for what follows it
      const text = rest + decoder.decode(value, { stream: true });
      const whole = text.endsWith('\r') ? text.slice(0, -1) : text;
      const blocks = whole.split(/\r\n\r\n|\n\n|\r\r/);
      rest = (blocks.pop() ?? '') + text.slice(whole.length);
      for (const block of blocks) {
        const event = parseBlock(block);
        if (event) yield event;
      }
    }
  } finally {
    // Also when the consumer stops early: it must not keep the connection open
    reader.cancel().catch(() => undefined);
  }
}

function parseBlock(block: string): ServerSentEvent | undefined {
  let id: string | null = null;
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') id = value === '' ? null : value;
    else if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
  return data.length === 0 ? undefined : { id, event, data: data.join('\n') };
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing received for ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}
