/**
 * The outside world of the demo: an HTTP service that knows nothing of workflows and writes down every request it
 * gets. Its log is the witness: what the engine says about itself proves little.
 */
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One line of the service's log. */
export interface Request {
  readonly step: string;
  readonly idempotencyKey: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** False while it is being worked on, and for ever when the caller died before the answer. */
  answered: boolean;
}

export interface Service {
  readonly url: string;
  readonly requests: readonly Request[];
  /** Leaves the next request of a step without an answer. */
  hold(step: string): void;
  close(): void;
}

const ORDERS = [
  { id: 'o-1', region: 'north', amount: 120, currency: 'EUR' },
  { id: 'o-2', region: 'north', amount: 80, currency: 'USD' },
  { id: 'o-3', region: 'south', amount: 300, currency: 'EUR' },
  { id: 'o-4', region: 'south', amount: 50, currency: 'GBP' },
  { id: 'o-5', region: 'east', amount: 1000, currency: 'SEK' },
  { id: 'o-6', region: 'east', amount: 40, currency: 'EUR' },
];
const RATES = { EUR: 1, USD: 0.75, GBP: 1.2, SEK: 0.1 };
/** What the orders come to at these rates. */
export const EXPECTED_TOTAL = 120 + 60 + 300 + 60 + 100 + 40;

/** Long enough to see the steps go by. */
const WORK_MS = 60;

export async function startService(): Promise<Service> {
  const requests: Request[] = [];
  const held = new Set<string>();

  const server = createServer((request, response) => {
    const step = String(request.headers['x-step']);
    const entry: Request = { step, idempotencyKey: String(request.headers['idempotency-key']), at: Date.now(), answered: false };
    requests.push(entry);
    request.resume();
    if (held.delete(step)) return;
    setTimeout(() => answer(request, response, () => (entry.answered = true)), WORK_MS);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    hold: (step) => held.add(step),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function answer(request: IncomingMessage, response: ServerResponse, sent: () => void): void {
  const body = bodyFor(`${request.method} ${request.url}`);
  response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body ?? { error: 'no such route' }), sent);
}

function bodyFor(route: string): unknown {
  switch (route) {
    case 'GET /orders':
      return ORDERS;
    case 'GET /rates':
      return RATES;
    case 'PUT /draft':
    case 'POST /summaries':
    case 'POST /announcements':
      return { ok: true };
    case 'POST /reports':
      return { id: 'report-1' };
    default: {
      const region = /^GET \/regions\/(\w+)\/stock$/.exec(route)?.[1];
      return region && { items: region.length * 100 };
    }
  }
}
