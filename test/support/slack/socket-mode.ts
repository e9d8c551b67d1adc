/** Socket Mode: apps.connections.open and the sockets it leads to (docs.slack.dev: Using Socket Mode). */
import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Methods } from './api.ts';
import type { Outcome, Transport } from './delivery.ts';
import { APP, type Json } from './world.ts';

/** docs: up to ten at a time. */
const CONNECTIONS_MAX = 10;

export interface SocketMode {
  readonly methods: Methods;
  readonly transport: Transport;
  /** How many are open. */
  readonly connections: number;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** As Slack does from time to time: it says so, and closes a while later. @param which 0 is the oldest */
  disconnect(
    reason: 'warning' | 'refresh_requested' | 'link_disabled',
    options?: { readonly which?: number; readonly afterMs?: number },
  ): void;
  close(): void;
}

export function createSocketMode(url: () => string): SocketMode {
  const server = new WebSocketServer({ noServer: true });
  const tickets = new Set<string>();
  const open: WebSocket[] = [];
  const waiting = new Map<string, { readonly over: WebSocket; done(outcome: Outcome): void }>();
  let turn = 0;

  return {
    methods: {
      'apps.connections.open': () => {
        const ticket = randomBytes(12).toString('hex');
        tickets.add(ticket);
        return { url: `${url().replace('http', 'ws')}/link/?ticket=${ticket}&app_id=${APP.appId}` };
      },
    },
    get connections() {
      return open.length;
    },
    upgrade(request, socket, head) {
      const ticket = new URL(request.url ?? '/', 'http://slack').searchParams.get('ticket') ?? '';
      // good for one connection
      if (!tickets.delete(ticket)) {
        socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
        return;
      }
      server.handleUpgrade(request, socket, head, welcome);
    },
    async transport({ kind, body }, retry, ackMs) {
      const started = performance.now();
      const over = await nextConnection(ackMs);
      if (over === undefined) return { acknowledged: false, reason: 'timeout' };
      const id = randomUUID();
      const type = { event: 'events_api', interactive: 'interactive', slash: 'slash_commands' }[kind];
      const again = kind === 'event' ? { retry_attempt: retry?.num ?? 0, retry_reason: retry?.reason ?? '' } : {};
      const outcome = new Promise<Outcome>((done) => {
        const timer = setTimeout(
          () => done({ acknowledged: false, reason: 'timeout' }),
          Math.max(1, ackMs - (performance.now() - started)),
        );
        waiting.set(id, {
          over,
          done(answer) {
            clearTimeout(timer);
            done(answer);
          },
        });
      });
      over.send(JSON.stringify({ envelope_id: id, type, payload: body, accepts_response_payload: kind !== 'event', ...again }));
      try {
        return await outcome;
      } finally {
        waiting.delete(id);
      }
    },
    disconnect(reason, { which = 0, afterMs = 1000 } = {}) {
      const socket = open[which];
      if (socket === undefined) throw new Error(`No socket ${which} is open.`);
      socket.send(JSON.stringify({ type: 'disconnect', reason, debug_info: { host: 'applink-test' } }));
      // nothing more is sent over it
      open.splice(which, 1);
      setTimeout(() => socket.close(), afterMs).unref();
    },
    close() {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  };

  function welcome(socket: WebSocket): void {
    if (open.length >= CONNECTIONS_MAX) {
      socket.send(JSON.stringify({ type: 'disconnect', reason: 'too_many_websockets' }));
      socket.close();
      return;
    }
    open.push(socket);
    socket.on('message', (data: Buffer) => hear(data.toString()));
    socket.on('close', () => {
      const place = open.indexOf(socket);
      if (place >= 0) open.splice(place, 1);
      for (const { over, done } of waiting.values()) if (over === socket) done({ acknowledged: false, reason: 'connection_failed' });
    });
    const debug = { host: 'applink-test', started: new Date().toISOString(), build_number: 1, approximate_connection_time: 18_060 };
    socket.send(JSON.stringify({ type: 'hello', num_connections: open.length, debug_info: debug, connection_info: { app_id: APP.appId } }));
  }

  /** An acknowledgement; what else is said, Slack does not mind. */
  function hear(data: string): void {
    const said = JSON.parse(data) as { readonly envelope_id?: string; readonly payload?: Json };
    const answer = said.payload === undefined || Object.keys(said.payload).length === 0 ? '' : JSON.stringify(said.payload);
    waiting.get(said.envelope_id ?? '')?.done({ acknowledged: true, answer });
  }

  /** One of them, in turn; an app that is about to connect is waited for. */
  async function nextConnection(withinMs: number): Promise<WebSocket | undefined> {
    const deadline = performance.now() + withinMs;
    while (open.length === 0) {
      if (performance.now() > deadline) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    turn += 1;
    return open[turn % open.length];
  }
}
